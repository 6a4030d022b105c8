"""Processes announce themselves; an old one serves what expands and refuses, tenant by tenant, what does not."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo
from sqlalchemy import Engine, text
from structlog.testing import capture_logs

from control_plane.registry import processes
from control_plane.registry.engine import control_engine, transaction
from control_plane.registry.processes import ALIVE_S
from control_plane.registry.tables import ProcessRow
from control_plane.routing.announcing import Announcer
from control_plane.version import code_version
from migrations.fleet import gate
from tests.fleet.declared import declared_chain
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest, free_port
from tests.routing.apis import Api
from tests.routing.wire import Wire, wire_to
from tests.waiting import until

pytestmark = pytest.mark.slow

OLD_APP, STRICT_APP = "tests.routing.apps:old", "tests.routing.apps:strict"
EXPANDED, CONTRACTED = "9001", "9002"
"""Revisions of a later version, as the roll has them: what an old process hears of them is their names and needs."""


def living(platform: PlatformUnderTest, kind: str | None = None) -> list[ProcessRow]:
    """Who is alive on the platform."""
    with transaction(platform.engine) as session:
        return [row for row in processes.living(session) if kind in (None, row.kind)]


def row_of(platform: PlatformUnderTest, announcer: Announcer) -> ProcessRow | None:
    return next((row for row in living(platform) if row.id == announcer.process.id), None)


@pytest.fixture
def wire(platform: PlatformUnderTest) -> Iterator[Wire]:
    with wire_to(platform.settings.control_dsn) as wire:
        yield wire


@pytest.fixture
def wired(wire: Wire) -> Iterator[Engine]:
    engine = control_engine(wire.dsn, timeout_s=2)
    yield engine
    engine.dispose()


@contextmanager
def announced(engine: Engine, revisions: Sequence[str] = ("0001",)) -> Iterator[Announcer]:
    """A process that announces itself all the time, until the end of the block."""
    announcer = Announcer(engine, "tests", revisions, every_s=0.02)
    announcer.start()
    try:
        yield announcer
    finally:
        announcer.stop()


def test_both_processes_of_a_platform_say_what_they_work_with(platform: PlatformUnderTest) -> None:
    until(lambda: {row.kind for row in living(platform)} >= {"api", "worker"}, what="both are there")
    for row in living(platform):
        if row.kind in ("api", "worker"):
            assert row.revisions == ["0001", "0002"]
            host, pid = row.place.split("/")
            assert host == socket.gethostname()
            assert pid.isdigit()
            assert row.code_version.startswith("0.1.0+")


def test_an_announcement_is_repeated(platform: PlatformUnderTest) -> None:
    until(lambda: living(platform, "api") != [], what="the API is there")
    (first, *_) = living(platform, "api")
    until(
        lambda: any(row.id == first.id and row.seen_at > first.seen_at for row in living(platform)),
        what="it is seen again",
    )


def test_a_process_is_there_from_start_to_stop(platform: PlatformUnderTest, wired: Engine) -> None:
    with announced(wired, ("0002", "0001")) as announcer:
        until(lambda: row_of(platform, announcer) is not None, what="it is there")
        row = row_of(platform, announcer)
        assert row is not None
        assert (row.kind, row.revisions, row.code_version) == ("tests", ["0001", "0002"], code_version())
        assert row.place == f"{socket.gethostname()}/{os.getpid()}"
    assert row_of(platform, announcer) is None


def test_a_control_database_that_is_away_is_borne_in_silence(
    platform: PlatformUnderTest, wire: Wire, wired: Engine
) -> None:
    wire.pull()
    with capture_logs() as logs, announced(wired) as announcer:
        until(lambda: logs != [], what="it says so")
        wire.plug()
        until(lambda: row_of(platform, announcer) is not None, what="it is there when the database is")
        wire.pull()
        until(lambda: len(logs) > 1, what="it says so once more")
        wire.plug()
        row = row_of(platform, announcer)
        assert row is not None
        until(
            lambda: (now := row_of(platform, announcer)) is not None and now.seen_at > row.seen_at,
            what="it is seen again",
        )
    assert [entry["event"] for entry in logs] == ["process_not_announced"] * 2


def test_a_row_that_was_deleted_as_dead_comes_back(platform: PlatformUnderTest, wired: Engine) -> None:
    with announced(wired) as announcer:
        until(lambda: row_of(platform, announcer) is not None, what="it is there")
        with transaction(platform.engine) as session:
            processes.leave(session, announcer.process.id)
        until(lambda: row_of(platform, announcer) is not None, what="it is there again")


def test_a_control_database_that_hangs_keeps_nobody_from_ending(platform: PlatformUnderTest, tmp_path: Path) -> None:
    """It takes connections, and never says a word."""
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / ".s.PGSQL.6001"))
        silent.listen()
        dsn = make_conninfo(platform.settings.control_dsn, host=str(tmp_path), port=6001)
        engine = control_engine(dsn, timeout_s=60)
        announcer = Announcer(engine, "tests", ["0001"])
        announcer.start()
        client, _ = silent.accept()
        announcer.stop()
        assert any(thread.name == "announcer" for thread in threading.enumerate())
        client.close()


def another_api(platform: PlatformUnderTest, wire: Wire, folder: Path, app: str = OLD_APP) -> Api:
    """A process of another version, not started."""
    return Api(
        platform=platform,
        wire=wire,
        snapshot=folder / "roll.json",
        port=free_port(),
        variables={"COPYHOLD_TENANT_APP": app},
    )


@contextmanager
def at_later_revisions(expanded: TenantUnderTest, contracted: TenantUnderTest) -> Iterator[None]:
    """The roll as a run of a later version would leave it: one home past an expand revision, one past a contract."""
    platform = expanded.platform
    with transaction(platform.engine) as session:
        session.execute(text(f"INSERT INTO revisions VALUES ('{EXPANDED}', '0001'), ('{CONTRACTED}', '{CONTRACTED}')"))
    try:
        for tenant, revision in ((expanded, EXPANDED), (contracted, CONTRACTED)):
            be_at(tenant, revision)
        yield
    finally:
        for tenant in (expanded, contracted):
            be_at(tenant, "0002")
        with transaction(platform.engine) as session:
            session.execute(text(f"DELETE FROM revisions WHERE name IN ('{EXPANDED}', '{CONTRACTED}')"))


def be_at(tenant: TenantUnderTest, revision: str) -> None:
    """Set what the roll says of the tenant's target."""
    home = tenant.route.home
    assert home is not None
    with transaction(tenant.platform.engine) as session:
        session.execute(
            text("UPDATE targets SET revision = :revision WHERE database_id = :database AND schema = :schema"),
            {"revision": revision, "database": home.database_id, "schema": home.schema},
        )


@pytest.mark.slow
def test_an_old_process_serves_what_expands_and_refuses_a_contract_for_that_tenant_alone(
    platform: PlatformUnderTest, pool_tenant: TenantUnderTest, wire: Wire, tmp_path: Path
) -> None:
    expanded, contracted = platform.tenant("bridge"), platform.tenant("silo")
    api = another_api(platform, wire, tmp_path)
    with api.running():
        for tenant in (pool_tenant, expanded, contracted):  # at 0002, which it does not know, and which expands
            assert api.answer(tenant) == (200, "")
        with at_later_revisions(expanded, contracted):
            until(lambda: api.answer(contracted) == (503, "home_incompatible"), what="the contract is refused")
            assert int(api.get(contracted).headers["retry-after"]) > 0
            assert [api.answer(tenant) for tenant in (expanded, pool_tenant)] == [(200, "")] * 2
            # The newer process is past neither: it knows 0002, and no contract of these either.
            until(lambda: contracted.http.get("/api/me").status_code == 503, what="the other process refuses it too")
            assert expanded.http.get("/api/me").status_code == 200
        until(lambda: api.answer(contracted) == (200, ""), what="it is served again")
    with at_later_revisions(expanded, contracted):
        strict = another_api(platform, wire, tmp_path, STRICT_APP)  # past the revision that the home asks for
        with strict.running():
            assert [strict.answer(tenant)[0] for tenant in (contracted, expanded)] == [503, 200]
        wire.pull()
        with api.running():  # from disk
            assert [api.answer(tenant)[0] for tenant in (contracted, expanded)] == [503, 200]
    until(lambda: contracted.http.get("/api/me").status_code == 200, what="all is as it was")


@pytest.mark.slow
def test_an_old_process_blocks_a_contract_until_it_has_ended(
    platform: PlatformUnderTest, wire: Wire, tmp_path: Path
) -> None:
    chain = declared_chain(tmp_path / "chain", expands=(True, False))
    api = another_api(platform, wire, tmp_path)

    def blockers(later: float = 0) -> list[str]:
        with transaction(platform.engine) as session:
            ((now,),) = session.execute(text("SELECT now()")).all()
            moment = now + timedelta(seconds=later)
            return [blocker.place for blocker in gate.blocking(session, chain, "0002", now=moment)]

    with api.running() as process:
        place = f"{socket.gethostname()}/{process.pid}"
        until(lambda: blockers() == [place], what="it blocks")
        with transaction(platform.engine) as session:
            assert gate.blocking(session, chain, "0001") == []
            found = gate.blocking(session, chain, "0002")
        with pytest.raises(gate.OldProcessesError, match=f"api {place} .*, which knows 0001"):
            gate.refuse_contract(found, "0002")
    assert blockers() == []
    with api.running() as process:
        place = f"{socket.gethostname()}/{process.pid}"
        until(lambda: blockers() == [place], what="it blocks again")
        process.kill()
        process.wait()
        assert blockers() == [place]
        assert blockers(later=ALIVE_S + 1) == []
        with transaction(platform.engine) as session:
            session.execute(text("DELETE FROM processes WHERE place = :place"), {"place": place})


@pytest.mark.slow
def test_a_process_that_starts_without_a_control_database_is_announced_when_it_is_back(
    platform: PlatformUnderTest, pool_tenant: TenantUnderTest, wire: Wire, tmp_path: Path
) -> None:
    api = another_api(platform, wire, tmp_path)
    with api.running():
        assert api.answer(pool_tenant) == (200, "")
    wire.pull()
    with api.running() as process:
        assert api.answer(pool_tenant) == (200, "")
        place = f"{socket.gethostname()}/{process.pid}"
        assert place not in {row.place for row in living(platform)}
        wire.plug()
        until(lambda: place in {row.place for row in living(platform)}, what="it is announced")
