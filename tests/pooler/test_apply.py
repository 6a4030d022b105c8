"""The running pooler follows the roll, and its clients do not notice."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import text

from control_plane.domain.tenant import Model
from control_plane.registry import servers
from control_plane.registry.engine import transaction
from provisioning.pooler.apply import Drift, Pooler
from provisioning.pooler.errors import PoolerDownError
from provisioning.pooler.render import FILES
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest
from tests.pooler import calls
from tests.service_user import as_service_user

CLIENTS = 12
RELOADS = 20
A_PASSWORD = "guessed"


def diff(platform: PlatformUnderTest) -> Drift:
    """How roll, files and running pooler differ."""
    return as_service_user(platform.data, calls.diff, platform.settings)


def apply(platform: PlatformUnderTest) -> bool:
    """Bring the pooler in line; whether anything had to be changed."""
    return as_service_user(platform.data, calls.apply, platform.settings)


@pytest.fixture(autouse=True)
def mended(platform: PlatformUnderTest) -> Iterator[None]:
    """Other tests find the pooler as the roll asks, whatever became of this one."""
    yield
    assert as_service_user(platform.data, calls.mend, platform.settings).none


@pytest.fixture
def spare(platform: PlatformUnderTest) -> Iterator[str]:
    """A database that is on the roll, and that the pooler has not heard of."""
    alias = "spare_1"
    enter(platform, alias)
    yield alias
    strike(platform, alias)


def enter(platform: PlatformUnderTest, alias: str) -> UUID:
    with transaction(platform.engine) as session:
        return servers.ensure_database(session, "alpha", alias, Model.BRIDGE).id


def strike(platform: PlatformUnderTest, alias: str) -> None:
    with transaction(platform.engine) as session:
        session.execute(text("DELETE FROM databases WHERE name = :name"), {"name": alias})


def test_what_is_in_line_is_left_alone(platform: PlatformUnderTest) -> None:
    before = {name: (platform.settings.pooler_dir / name).stat().st_mtime_ns for name in FILES}
    assert diff(platform).none
    assert not apply(platform)
    assert {name: (platform.settings.pooler_dir / name).stat().st_mtime_ns for name in FILES} == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("pgbouncer.ini", "pool_mode = transaction", "pool_mode = session"),
        ("databases.ini", "pool_1 = host", "pool_2 = host"),
        ("userlist.txt", '"pool_1" ""', f'"pool_1" "{A_PASSWORD}"'),
        ("servers.pem", "# Rendered by Copyhold", "# Edited by hand"),
    ],
    ids=FILES,
)
@pytest.mark.parametrize("read", [False, True], ids=["not read yet", "read by the pooler"])
def test_a_hand_edit_is_shown_and_undone(
    platform: PlatformUnderTest, name: str, old: str, new: str, read: bool
) -> None:
    as_service_user(platform.data, calls.edit, platform.settings, name, old, new)
    if read:
        as_service_user(platform.data, calls.console, platform.settings, "RELOAD")
    shown = diff(platform)
    assert [file for file, lines in shown.files.items() if lines] == [name]
    assert f"\n+{old}" in shown.files[name]
    assert f"\n-{new.replace(A_PASSWORD, '***')}" in shown.files[name]
    assert A_PASSWORD not in shown.files[name]
    if read and name == "pgbouncer.ini":
        assert shown.settings == ("pool_mode",)
    if read and name == "databases.ini":
        assert (shown.missing, shown.extra) == (("pool_1",), ("pool_2",))
    assert apply(platform)
    assert diff(platform).none


def test_a_setting_changed_at_the_console_is_shown_and_undone(platform: PlatformUnderTest) -> None:
    as_service_user(platform.data, calls.console, platform.settings, "SET pool_mode = 'session'")
    shown = diff(platform)
    assert (shown.settings, any(shown.files.values())) == (("pool_mode",), False)
    assert apply(platform)
    assert diff(platform).none


def test_an_entry_that_comes_and_goes_is_followed(platform: PlatformUnderTest, spare: str) -> None:
    shown = diff(platform)
    assert (shown.missing, shown.extra) == ((spare,), ())
    assert apply(platform)
    assert spare in live(platform)
    strike(platform, spare)
    shown = diff(platform)
    assert (shown.missing, shown.extra) == ((), (spare,))
    assert apply(platform)
    assert spare not in live(platform)


def live(platform: PlatformUnderTest) -> set[object]:
    """The aliases that the running pooler serves."""
    shown = as_service_user(platform.data, calls.console, platform.settings, "SHOW DATABASES")
    return {row["name"] for row in shown}


def test_files_are_whole_private_and_nothing_is_left_beside_them(platform: PlatformUnderTest, spare: str) -> None:
    assert apply(platform)
    there = {path.name: path.stat() for path in platform.settings.pooler_dir.iterdir() if path.is_file()}
    assert there.keys() == {*FILES, "lock"}
    assert {oct(status.st_mode & 0o777) for status in there.values()} == {"0o600"}
    assert {status.st_uid for status in there.values()} == {platform.data.stat().st_uid}


@pytest.mark.slow
def test_many_that_apply_at_once_take_turns(platform: PlatformUnderTest, spare: str) -> None:
    aliases = [spare, *(f"spare_{n}" for n in range(2, 6))]

    def come(alias: str) -> bool:
        enter(platform, alias)
        return apply(platform)

    try:
        with ThreadPoolExecutor(len(aliases)) as pool:
            changed = list(pool.map(come, aliases))
        assert any(changed)
        assert diff(platform).none
        assert live(platform) >= set(aliases)
    finally:
        for alias in aliases[1:]:
            strike(platform, alias)


def test_a_change_that_the_pooler_does_not_take_is_told(platform: PlatformUnderTest, spare: str) -> None:
    said = as_service_user(platform.data, calls.apply_elsewhere, platform.settings)
    assert said == f"the pooler did not take its new configuration ({spare}, auth_file); its log says why"


def test_a_pooler_that_is_down_is_an_error_of_its_own(platform: PlatformUnderTest) -> None:
    nowhere = platform.settings.model_copy(update={"pooler_port": 6999})
    pooler = Pooler(nowhere, platform.engine)
    for call in (pooler.diff, pooler.apply, pooler.status, pooler.version):
        with pytest.raises(PoolerDownError):
            call()


def client(platform: PlatformUnderTest, database: str) -> psycopg.Connection[tuple[int]]:
    """A client as the API is one."""
    settings = platform.settings
    return psycopg.connect(
        host=settings.pooler_host,
        port=settings.pooler_port,
        dbname=database,
        user=database,
        autocommit=True,
        prepare_threshold=None,
        connect_timeout=10,
    )


@pytest.mark.slow
def test_a_herd_of_clients_does_not_notice_reloads(
    platform: PlatformUnderTest, pool_tenant: TenantUnderTest, silo_tenant: TenantUnderTest
) -> None:
    homes = [tenant.route.home for tenant in (pool_tenant, silo_tenant)]
    ended = threading.Event()

    def ask(number: int) -> int:
        asked, home = 0, homes[number % 2]
        assert home is not None
        while not ended.is_set():
            with client(platform, home.database) as connection:
                for _ in range(20):
                    with connection.transaction():
                        assert connection.execute("SELECT 1").fetchone() == (1,)
                        assert connection.execute("SELECT 2").fetchone() == (2,)
                    asked += 1
        return asked

    with ThreadPoolExecutor(CLIENTS) as pool:
        herd = [pool.submit(ask, number) for number in range(CLIENTS)]
        try:
            as_service_user(platform.data, calls.come_and_go, platform.settings, "spare_9", RELOADS)
        finally:
            ended.set()
            strike(platform, "spare_9")
    assert all(member.result() > 0 for member in herd)
