"""What a mover has sent before it was killed is over before anybody goes on: it never comes late."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import _copy, pq

from control_plane.domain.ids import new_id
from control_plane.domain.server import Server
from control_plane.domain.tenant import Model
from control_plane.doors import SOCKETS
from migrations.fleet.chains import Chain
from provisioning import erasing, sessions
from provisioning.databases import TEMPLATE_LOCK, Builder
from provisioning.moves.copying import copy_rows
from provisioning.moves.obstacles import obstacles
from provisioning.moves.places import Place, source_alone, source_of, target_of
from provisioning.moves.ways import (
    begin_way_back,
    clear_way_there,
    erase_tenant,
    prepare_way_back,
    serve,
    way_back,
)
from provisioning.roles import database_exists
from provisioning.sessions import MayNotEndError, StillThereError, of_move
from tests.moves.conftest import NewHome
from tests.moves.homes import Home
from tests.moves.moving import clear_ways, fill, tables_between
from tests.waiting import until

WAITS = "SELECT FROM pg_stat_activity WHERE application_name = %(name)s AND wait_event_type = 'Lock'"
IS_THERE = "SELECT FROM pg_stat_activity WHERE application_name = %(name)s"
REVOKE = "REVOKE EXECUTE ON FUNCTION pg_terminate_backend FROM PUBLIC, copyhold_mover, copyhold_owner"
IN_THE_WAY = "INSERT INTO events (tenant_id, id, at) VALUES (%s, %s, '2025-05-05')"


@pytest.fixture
def pair(home: NewHome, other: Server, tenant: UUID) -> tuple[Home, Home]:
    """From a silo to a pool on another server, with rows."""
    here, there = home(Model.SILO), home(Model.POOL, other)
    fill(here, tenant, "copied")
    return here, there


def copy_and_die(here: Home, there: Home, tenant_id: UUID) -> None:
    """Copy; killed as soon as all of the first table is with the server, its end too, whatever that makes of it."""

    def end(pgconn: pq.abc.PGconn, error: bytes | None) -> Generator[Any, Any, Any]:
        pgconn.put_copy_end(error)
        while pgconn.flush():
            pass
        os.kill(os.getpid(), signal.SIGKILL)
        yield

    _copy.copy_end = end  # type: ignore[attr-defined]
    tables = tables_between(here, there)
    with source_of(here.place) as source, target_of(there.place) as target:
        copy_rows(source, target, (here.schema, there.schema), tables, tenant_id)


def test_rows_of_a_killed_mover_do_not_come_after_the_erasing(pair: tuple[Home, Home], tenant: UUID) -> None:
    here, there = pair
    name = of_move(tenant)
    ((first,),) = here.ask("SELECT id FROM events WHERE at = '2025-05-05'")
    with there.superuser() as blocking, blocking.transaction(force_rollback=True):
        blocking.execute(IN_THE_WAY, [tenant, first])
        mover = multiprocessing.get_context("spawn").Process(target=copy_and_die, args=(here, there, tenant))
        mover.start()
        mover.join()
        assert mover.exitcode == -signal.SIGKILL
        until(lambda: bool(there.ask(WAITS, name=name)), what="what it has sent waits")
        erase_tenant(there.place, tenant)
    until(lambda: not there.ask(IS_THERE, name=name), what="whatever it has sent is over")
    assert there.rows(tenant) == {"things": [], "parts": [], "feelings": [], "events": []}


def _followed(here: Home, there: Home, tenant: UUID) -> None:
    with way_back(there.place, here.place, tables_between(here, there), tenant):
        pass


@pytest.fixture
def kept(pair: tuple[Home, Home], tenant: UUID) -> Iterator[tuple[Home, Home]]:
    """With a way back from the one into the other."""
    here, there = pair
    prepare_way_back(there.place, tables_between(here, there), tenant)
    begin_way_back(there.place, here.place, tenant)
    yield pair
    clear_ways(here, there, tenant)


@pytest.mark.parametrize(
    ("act", "ends"),
    [
        (lambda here, there, tenant: clear_way_there(here.place, there.place, tenant), {"here", "there"}),
        (lambda here, there, tenant: clear_ways(here, there, tenant), {"here", "there"}),
        (_followed, {"here", "there"}),
        (lambda _, there, tenant: erase_tenant(there.place, tenant), {"there"}),
    ],
    ids=["clear_way_there", "clear_ways", "way_back", "erase_tenant"],
)
def test_whoever_begins_ends_those_before_and_nobody_else(
    kept: tuple[Home, Home], tenant: UUID, act: Callable[[Home, Home, UUID], None], ends: set[str]
) -> None:
    homes = dict(zip(("here", "there"), kept, strict=True))
    with ExitStack() as stack:
        late = {name: stack.enter_context(source_of(homes[name].place)) for name in ends}
        strangers = [
            stack.enter_context(source_of(replace(each.place, name=of_move(new_id())))) for each in homes.values()
        ]
        for connection in late.values():
            connection.execute("BEGIN")
        act(*kept, tenant)
        for connection in late.values():
            with pytest.raises(psycopg.errors.AdminShutdown):
                connection.execute("COMMIT")
        for connection in strangers:
            connection.execute("SELECT 1")


def test_a_server_that_does_not_let_them_be_ended_is_told_of_before_anything_begins(home: NewHome) -> None:
    there = home(Model.POOL)
    there.do(REVOKE)
    with source_of(there.place) as connection:
        (told,) = obstacles(connection)
    assert told.words.startswith("copyhold_mover may not end its own sessions: GRANT EXECUTE")
    with pytest.raises(MayNotEndError, match="GRANT EXECUTE"), source_alone(there.place):
        pass


def test_a_tenant_is_let_in_again_even_where_they_cannot_be_ended(home: NewHome, tenant: UUID) -> None:
    there = home(Model.POOL)
    there.do("UPDATE tenancy.fences SET state = 'frozen'", REVOKE)
    with pytest.raises(MayNotEndError):
        serve(there.place, tenant, 1)
    assert there.ask("SELECT state FROM tenancy.fences") == [("open",)]


def test_one_that_does_not_end_is_not_passed_over(home: NewHome, monkeypatch: pytest.MonkeyPatch) -> None:
    place: Place = home(Model.POOL).place
    with source_of(place) as stuck, monkeypatch.context() as patch:
        patch.setattr(sessions, "ENDED_WITHIN_MS", 50)
        pid = stuck.info.backend_pid
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(StillThereError, match=f"process {pid}"), source_alone(place):
                pass
        finally:
            os.kill(pid, signal.SIGCONT)
    with source_alone(place):
        pass


SCHEMA = "SELECT FROM pg_namespace WHERE nspname = 't_late'"


def test_a_schema_that_is_being_made_is_gone_once_it_is_dropped(home: NewHome, one: Server, things: Chain) -> None:
    there, builder = home(Model.BRIDGE), Builder(server=one, tenant_chain=things, doors=SOCKETS)
    with ThreadPoolExecutor(1) as others:
        with there.superuser() as blocking, blocking.transaction(force_rollback=True):
            blocking.execute("LOCK TABLE tenancy.logins")
            work = others.submit(builder.build_schema, there.database, "t_late", things.head)
            until(lambda: bool(there.ask(WAITS, name="copyhold t_late")), what="it is being made")
            erasing.drop_schema(SOCKETS, one, there.database, "t_late")
        with pytest.raises(psycopg.errors.AdminShutdown):
            work.result()
    assert there.ask(SCHEMA) == []


def test_a_silo_that_is_being_copied_is_gone_once_it_is_dropped(one: Server, things: Chain) -> None:
    builder = Builder(server=one, tenant_chain=things, doors=SOCKETS)
    with ThreadPoolExecutor(1) as others, builder.admin() as copying, builder.admin() as looking:
        copying.execute("SELECT pg_advisory_lock(%s)", [TEMPLATE_LOCK])
        work = others.submit(builder.drop_silo, "silo_late")
        waits = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        until(lambda: work.done() or looking.execute(waits).fetchone() is not None, what="it is about to drop it")
        copying.execute("CREATE DATABASE silo_late")
        copying.close()
        work.result()
        assert not database_exists(looking, "silo_late")
