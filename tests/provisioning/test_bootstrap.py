"""The bootstrap brings a platform to where it can serve: from nothing, from half of it, and again without a change."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import text

from control_plane.doors import SOCKETS
from control_plane.registry.engine import transaction
from control_plane.registry.tables import DatabaseRow
from migrations.fleet.chains import CONTROL, HOME
from migrations.fleet.run import FleetMigration
from tests.folders import new_folder
from tests.platform_under_test import PlatformUnderTest, free_port
from tests.provisioning import starts
from tests.service_user import FailedThereError, as_service_user, killed_as_service_user


def bootstrap_again(platform: PlatformUnderTest, *arguments: str) -> None:
    """What the next `up` would do."""
    as_service_user(platform.data, starts.bootstrap_again, platform.data, *arguments)


@contextmanager
def otherwise(platform: PlatformUnderTest, statement: str, back: str) -> Iterator[None]:
    """The control database changed behind everybody's back, and changed back."""
    with transaction(platform.engine) as session:
        session.execute(text(statement))
    try:
        yield
    finally:
        with transaction(platform.engine) as session:
            session.execute(text(back))


@pytest.mark.slow
def test_repeating_it_changes_nothing_whatever_a_first_start_would_build(platform: PlatformUnderTest) -> None:
    before = starts.everything(platform)
    bootstrap_again(platform, "0001")
    assert starts.everything(platform) == before


def test_it_puts_back_what_was_lost(platform: PlatformUnderTest) -> None:
    before = starts.everything(platform)
    with platform.superuser("alpha", "postgres") as admin:
        admin.execute("REVOKE copyhold_owner FROM copyhold_migrator; GRANT CONNECT ON DATABASE postgres TO PUBLIC")
    with platform.superuser("beta", "postgres") as admin:
        admin.execute(f"ALTER DATABASE template_{HOME.head}_0002 IS_TEMPLATE false")
        admin.execute(f"DROP DATABASE template_{HOME.head}_0002")
    (platform.settings.pooler_dir / "databases.ini").unlink()
    bootstrap_again(platform)
    assert starts.everything(platform) == before


def test_a_newer_control_database_is_refused_and_left_alone(platform: PlatformUnderTest) -> None:
    newer = "UPDATE alembic_version SET version_num = 'c9999'"
    with otherwise(platform, newer, f"UPDATE alembic_version SET version_num = '{CONTROL.head}'"):
        before = starts.everything(platform)
        with pytest.raises(FailedThereError) as refused:
            bootstrap_again(platform)
        assert starts.everything(platform) == before
    assert str(refused.value).splitlines()[0] == (
        "NewerControlDatabaseError: the control database is at revision c9999,"
        " which this Copyhold does not know: use the newer version"
    )


@pytest.mark.parametrize(
    ("column", "newer", "ours", "chain"),
    [("tenant_revision", "9999", "0002", "tenant"), ("home_revision", "h9999", HOME.head, "home")],
    ids=["tenant tables", "tenancy schema"],
)
def test_a_fleet_that_a_newer_version_migrated_is_refused_and_left_alone(
    platform: PlatformUnderTest, column: str, newer: str, ours: str, chain: str
) -> None:
    with otherwise(platform, f"UPDATE fleet SET {column} = '{newer}'", f"UPDATE fleet SET {column} = '{ours}'"):
        before = starts.everything(platform)
        with pytest.raises(FailedThereError, match=f"new homes are built at {chain} revision {newer}, which this"):
            bootstrap_again(platform)
        assert starts.everything(platform) == before


@pytest.mark.slow
def test_a_home_that_a_newer_version_migrated_is_reported_and_not_lowered(platform: PlatformUnderTest) -> None:
    silo = platform.tenant("silo")
    home = silo.route.home
    assert home is not None
    with platform.home_of(silo) as inside:
        inside.execute("UPDATE alembic_version SET version_num = '9999'")
        inside.execute("UPDATE tenancy.alembic_version SET version_num = 'h9999'")
    for table, column, key, value in (
        ("targets", "revision", "database_id", "9999"),
        ("databases", "home_revision", "id", "h9999"),
    ):
        with transaction(platform.engine) as session:
            statement = text(f"UPDATE {table} SET {column} = :value WHERE {key} = :id")
            session.execute(statement, {"value": value, "id": home.database_id})
    bootstrap_again(platform)
    work = FleetMigration(platform.engine, platform.estate.chain, SOCKETS).plan()
    assert {(target.database, target.revision) for target in work.ahead} >= {
        (home.database, "9999"),
        (home.database, "h9999"),
    }
    with platform.home_of(silo) as inside:
        found = inside.execute("SELECT a.version_num, b.version_num FROM alembic_version a, tenancy.alembic_version b")
        assert found.fetchone() == ("9999", "h9999")
        inside.execute("UPDATE alembic_version SET version_num = '0002'")
        inside.execute(f"UPDATE tenancy.alembic_version SET version_num = '{HOME.head}'")
    with transaction(platform.engine) as session:
        session.execute(text("UPDATE targets SET revision = '0002' WHERE database_id = :id"), {"id": home.database_id})
        session.get_one(DatabaseRow, home.database_id).home_revision = HOME.head


def test_an_unknown_first_revision_is_refused(platform: PlatformUnderTest) -> None:
    with pytest.raises(FailedThereError, match="there is no revision '7777'; there are 0001, 0002"):
        bootstrap_again(platform, "7777")


@pytest.fixture
def bare_servers() -> Iterator[PlatformUnderTest]:
    """The running servers of a platform that has not been bootstrapped yet, and nothing else of it."""
    data = new_folder("ch-test-")
    if Path(data).owner() == "root":
        shutil.chown(data, "postgres", "postgres")
    as_service_user(data, starts.make_servers, data)
    platform = PlatformUnderTest(data=data, port=free_port())
    try:
        yield platform
    finally:
        platform.close()
        as_service_user(data, starts.stop_servers, data)
        shutil.rmtree(data, ignore_errors=True)


@pytest.mark.slow
def test_first_starts_that_are_killed_ever_a_little_later_get_there_in_the_end(bare_servers: PlatformUnderTest) -> None:
    data = bare_servers.data
    for number in count(1, 9):
        if not killed_as_service_user(data, starts.bootstrap_until_statement, data, number):
            break
    assert number > 50
    before = starts.everything(bare_servers)
    assert {name for kind, name, _ in before["beta"] if kind == "database"} == {
        "postgres",
        "template0",
        "template1",
        f"template_{HOME.head}_0002",
    }
    assert starts.behind(bare_servers) == 0
    as_service_user(data, starts.bootstrap_again, data)
    assert starts.everything(bare_servers) == before
