"""The roll follows the control database: at once, at the next poll at the latest, and past its end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import delete, select, update

from control_plane.domain.errors import SetupError
from control_plane.domain.ids import new_id
from control_plane.domain.route import Role
from control_plane.domain.tenant import Plan, Status
from control_plane.registry.engine import control_engine, transaction
from control_plane.registry.tables import ApiKeyRow, FeedRow, TenantRow
from control_plane.routing import snapshot as disk
from control_plane.routing.feed import Roll, UnreadableRollError
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest
from tests.routing.hands import at_the_control_server, set_status
from tests.routing.wire import Wire, wire_to
from tests.waiting import until

NEVER_S = 3600.0


@pytest.fixture
def wire(platform: PlatformUnderTest) -> Iterator[Wire]:
    with wire_to(platform.settings.control_dsn) as wire:
        yield wire


class CountingRoll(Roll):
    """Counts how often it has been read."""

    reads = 0

    def refresh(self) -> None:
        super().refresh()
        self.reads += 1


@contextmanager
def following(
    platform: PlatformUnderTest, wire: Wire, *, poll_s: float, file: Path | None = None
) -> Iterator[CountingRoll]:
    """A roll that has been started over that wire; stopped at the end."""
    engine = control_engine(wire.dsn, timeout_s=2)
    roll = CountingRoll(engine, wire.dsn, platform.keyring, file, poll_s=poll_s)
    roll.start()
    try:
        yield roll
    finally:
        roll._stopping.set()
        wire.pull()  # it would notice at its next poll; a test does not wait for that
        roll.stop()
        engine.dispose()


@pytest.fixture(scope="module")
def tenant(platform: PlatformUnderTest) -> TenantUnderTest:
    """A tenant whose name and status change."""
    return platform.tenant("pool")


def rename(tenant: TenantUnderTest, name: str) -> None:
    with transaction(tenant.platform.engine) as session:
        session.execute(update(TenantRow).where(TenantRow.id == tenant.id).values(name=name))


def name_in(roll: Roll, tenant: TenantUnderTest) -> str:
    return roll.snapshot.by_id[tenant.id].name


def listening(roll: Roll) -> None:
    """Wait until the thread has read the roll after its LISTEN."""
    began = time.time()
    until(lambda: roll.fresh_at > began, what="the feed listens")


def test_a_change_is_heard_at_once(platform: PlatformUnderTest, wire: Wire, tenant: TenantUnderTest) -> None:
    with following(platform, wire, poll_s=NEVER_S) as roll:
        heard = threading.Event()
        until(lambda: roll.reads > 1, what="the feed listens")  # first to have one, then once it listens
        roll.subscribe(heard.set)
        rename(tenant, "Heard")
        assert heard.wait(60)
        assert name_in(roll, tenant) == "Heard"
        assert roll.snapshot.by_slug[tenant.slug].name == "Heard"


def test_a_change_whose_notification_is_lost_is_seen_by_the_next_poll(
    platform: PlatformUnderTest, wire: Wire, tenant: TenantUnderTest
) -> None:
    with following(platform, wire, poll_s=0.2) as roll:
        unheard(tenant, "Polled")
        until(lambda: name_in(roll, tenant) == "Polled", what="the poll sees it")


def test_without_a_poll_it_would_not_be_seen(platform: PlatformUnderTest, wire: Wire, tenant: TenantUnderTest) -> None:
    """The control of the test above; asking for the roll is what else sees it."""
    rename(tenant, "Before")
    with following(platform, wire, poll_s=NEVER_S) as roll:
        until(lambda: roll.reads > 1, what="the feed listens")  # first to have one, then once it listens
        unheard(tenant, "Unheard")
        assert name_in(roll, tenant) == "Before"
        roll.refresh()
        assert name_in(roll, tenant) == "Unheard"


def unheard(tenant: TenantUnderTest, name: str) -> None:
    """Rename the tenant as its trigger would, but for the notification."""
    with at_the_control_server(tenant.platform) as superuser, superuser.transaction():
        superuser.execute("SET LOCAL session_replication_role = replica")
        superuser.execute("UPDATE tenants SET name = %s WHERE id = %s", [name, tenant.id])
        superuser.execute("UPDATE feed SET version = version + 1")
        superuser.execute("UPDATE changes SET version = (SELECT version FROM feed) WHERE tenant_id = %s", [tenant.id])


def test_a_new_key_a_revoked_key_and_a_suspension_come_through(
    platform: PlatformUnderTest, wire: Wire, tenant: TenantUnderTest
) -> None:
    with following(platform, wire, poll_s=NEVER_S) as roll:
        platform.new_key(tenant.id, Role.MEMBER)
        with transaction(platform.engine) as session:
            keys = session.scalars(select(ApiKeyRow).where(ApiKeyRow.tenant_id == tenant.id)).all()
            newest = max(keys, key=lambda key: key.id).id

        def known() -> bool:
            return newest in {key.id for key in roll.snapshot.by_id[tenant.id].keys}

        until(known, what="the key is known")
        with transaction(platform.engine) as session:
            session.get_one(ApiKeyRow, newest).revoked_at = session.get_one(TenantRow, tenant.id).created_at
        until(lambda: not known(), what="the revoked key is not")
        set_status(tenant, Status.SUSPENDED)
        try:
            until(lambda: roll.snapshot.by_id[tenant.id].status is Status.SUSPENDED, what="the suspension is known")
        finally:
            set_status(tenant, Status.ACTIVE)


@pytest.mark.slow
def test_the_roll_in_memory_goes_on_without_the_control_database_and_catches_up_after(
    platform: PlatformUnderTest, wire: Wire, tenant: TenantUnderTest
) -> None:
    with following(platform, wire, poll_s=0.1) as roll:
        listening(roll)
        wire.pull()
        rename(tenant, "While away")
        assert roll.snapshot.by_id[tenant.id].home is not None
        until(lambda: roll.age_s > 0.5, what="its age shows")
        assert name_in(roll, tenant) != "While away"
        wire.plug()
        until(lambda: name_in(roll, tenant) == "While away", what="it catches up")
        until(lambda: roll.age_s < 0.5, what="it is fresh again")


@pytest.mark.slow
def test_the_feed_outlives_every_kind_of_trouble(
    platform: PlatformUnderTest, wire: Wire, tenant: TenantUnderTest
) -> None:
    """Cut, cut again while it comes back, thrown out by the server, no free connection to the control database."""
    with following(platform, wire, poll_s=0.1) as roll:
        for _ in range(2):
            wire.pull()
            wire.plug()
        with at_the_control_server(platform) as superuser:
            superuser.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE query = 'LISTEN copyhold_roll'"
            )
        taken = []
        with suppress(Exception):
            while True:
                taken.append(roll._engine.connect())
        began = time.time()
        until(lambda: roll.age_s > 0.3, what="nobody gets through")
        for connection in taken:
            connection.close()
        until(lambda: roll.fresh_at > began, what="it reads again")
        rename(tenant, "After all")
        until(lambda: name_in(roll, tenant) == "After all", what="it goes on")


@pytest.mark.slow
def test_the_roll_starts_from_disk_when_there_is_no_control_database(
    platform: PlatformUnderTest, wire: Wire, tenant: TenantUnderTest, tmp_path: Path
) -> None:
    file = tmp_path / "roll.json"
    with following(platform, wire, poll_s=0.1, file=file) as roll:
        before = roll.snapshot
    assert not Path(wire.dsn).exists()
    with following(platform, wire, poll_s=0.1, file=file) as roll:
        assert roll.snapshot.by_id == before.by_id
        assert roll.age_s > 0
        wire.plug()
        rename(tenant, "From disk and on")
        until(lambda: name_in(roll, tenant) == "From disk and on", what="it catches up")


def test_without_control_database_and_snapshot_it_does_not_start(
    platform: PlatformUnderTest, wire: Wire, tmp_path: Path
) -> None:
    wire.pull()
    engine = control_engine(wire.dsn, timeout_s=2)
    for file in (tmp_path / "none.json", None):
        with pytest.raises(Exception) as refused:
            Roll(engine, wire.dsn, platform.keyring, file, poll_s=1).start()
        assert isinstance(refused.value, SetupError) or file is None
    engine.dispose()


def test_what_changed_last_is_on_disk_after_a_stop(
    platform: PlatformUnderTest, wire: Wire, tenant: TenantUnderTest, tmp_path: Path
) -> None:
    file = tmp_path / "roll.json"
    with following(platform, wire, poll_s=NEVER_S, file=file) as roll:
        for number in range(5):
            rename(tenant, f"Name {number}")
        until(lambda: name_in(roll, tenant) == "Name 4", what="all is heard")
    assert disk.load(file, platform.keyring).by_id[tenant.id].name == "Name 4"
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.slow
def test_a_change_is_on_disk_within_seconds_though_nothing_else_changes(
    platform: PlatformUnderTest, wire: Wire, tenant: TenantUnderTest, tmp_path: Path
) -> None:
    file = tmp_path / "roll.json"
    with following(platform, wire, poll_s=0.2, file=file):
        rename(tenant, "Twice at once")
        rename(tenant, "On disk")
        until(lambda: disk.load(file, platform.keyring).by_id[tenant.id].name == "On disk", what="it is saved")


def test_whoever_is_shut_out_is_so_on_disk_at_once(
    platform: PlatformUnderTest, wire: Wire, tenant: TenantUnderTest, tmp_path: Path
) -> None:
    file = tmp_path / "roll.json"
    with following(platform, wire, poll_s=NEVER_S, file=file) as roll:
        until(lambda: roll.reads > 1, what="the feed listens")  # first to have one, then once it listens
        rename(tenant, "Saved a moment ago")
        until(lambda: name_in(roll, tenant) == "Saved a moment ago", what="it is heard")
        try:
            # Nothing else happens that could have it saved later.
            set_status(tenant, Status.SUSPENDED)
            until(
                lambda: disk.load(file, platform.keyring).by_id[tenant.id].status is Status.SUSPENDED,
                what="it is saved",
            )
        finally:
            set_status(tenant, Status.ACTIVE)


def test_a_folder_that_cannot_be_written_stops_nobody(
    platform: PlatformUnderTest, wire: Wire, tenant: TenantUnderTest, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with following(platform, wire, poll_s=0.1, file=tmp_path / "file" / "roll.json") as roll:
        rename(tenant, "Unsaved")
        until(lambda: name_in(roll, tenant) == "Unsaved", what="it follows")


def test_no_version_is_seen_before_all_that_belongs_to_it(platform: PlatformUnderTest, tmp_path: Path) -> None:
    """Many commit at once, long and short, some roll back. Whatever was committed when the roll was read is in it."""
    count, rounds = 6, 40
    rows = [new_id() for _ in range(count)]
    with transaction(platform.engine) as session:
        for row in rows:
            slug = f"feed-{row.hex[-12:]}"
            session.add(TenantRow(id=row, slug=slug, name="0", plan="starter", model="pool", status="failed"))
    failures: list[BaseException] = []

    def write(number: int) -> None:
        try:
            with psycopg.connect(platform.settings.control_dsn, autocommit=True) as connection:
                for step in range(1, rounds + 1):
                    with suppress(RuntimeError), connection.transaction():
                        connection.execute("UPDATE tenants SET name = %s WHERE id = %s", [str(step), rows[number]])
                        if step % 3 == 0:
                            connection.execute("SET CONSTRAINTS ALL IMMEDIATE")  # it holds the version for a while
                            connection.execute("SELECT pg_sleep(0.002)")
                        if step % 7 == 0:
                            raise RuntimeError("rolled back")
        except BaseException as error:  # noqa: BLE001 - handed to the test
            failures.append(error)

    roll = Roll(platform.engine, platform.settings.control_dsn, platform.keyring, None, poll_s=NEVER_S)
    writers = [threading.Thread(target=write, args=[number]) for number in range(count)]
    for writer in writers:
        writer.start()
    reads = 0
    while any(writer.is_alive() for writer in writers) or reads < 3:
        with transaction(platform.engine) as session:
            session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            version: Any = session.scalars(select(FeedRow.version)).one()
            committed = session.execute(select(TenantRow.id, TenantRow.name).where(TenantRow.id.in_(rows))).all()
        roll.refresh()
        seen = roll.snapshot
        assert seen.version >= version
        for row, name in committed:
            assert int(seen.by_id[row].name) >= int(name), "a change was missed"
        reads += 1
    for writer in writers:
        writer.join()
    assert failures == []
    roll.refresh()
    assert {roll.snapshot.by_id[row].name for row in rows} == {str(rounds)}
    assert reads > 3
    with transaction(platform.engine) as session:
        session.execute(delete(TenantRow).where(TenantRow.id.in_(rows)))


@pytest.mark.slow
def test_a_word_that_this_version_does_not_know_leaves_the_roll_as_it_was_until_it_is_gone(
    platform: PlatformUnderTest, wire: Wire, tenant: TenantUnderTest
) -> None:
    """A newer version may have written it; the feed neither dies of it nor serves half a roll."""
    with following(platform, wire, poll_s=0.05) as roll:
        with transaction(platform.engine) as session:
            session.execute(update(TenantRow).where(TenantRow.id == tenant.id).values(plan="from the future"))
        try:
            until(lambda: roll.age_s > 0.5, what="its age shows")
            with pytest.raises(UnreadableRollError):
                roll.refresh()
            assert roll.snapshot.by_id[tenant.id].plan is Plan.STARTER
        finally:
            with transaction(platform.engine) as session:
                session.execute(update(TenantRow).where(TenantRow.id == tenant.id).values(plan="starter"))
        rename(tenant, "Readable again")
        until(lambda: name_in(roll, tenant) == "Readable again", what="it goes on")
