"""A server that stops while an index is built concurrently: what is left of it is no index, and is built again."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from control_plane.doors import SOCKETS
from migrations.fleet.events import Report
from migrations.fleet.run import FleetMigration
from migrations.fleet.wishes import Wishes
from tests.fleet.fleet import FleetUnderTest, Place, hands, place_of
from tests.fleet.longer import longer_chain
from tests.fleet.writing import concurrently
from tests.parts import restart
from tests.platform_under_test import TenantUnderTest
from tests.waiting import until

pytestmark = pytest.mark.slow

INDEX = "conversations_by_id_idx"
STATEMENT = f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {INDEX} ON conversations (tenant_id, id DESC)"
WITH_INDEX = "0003"


@pytest.fixture
def longer(fleet: FleetUnderTest, tmp_path: Path) -> Iterator[FleetMigration]:
    """The fleet and a chain whose newest revision builds an index concurrently; it is dropped again at the end."""
    chain = longer_chain(tmp_path / "chain", concurrently(STATEMENT))
    yield FleetMigration(fleet.platform.engine, chain, SOCKETS)
    for database, schema in fleet.found():
        with in_schema(fleet, (database, schema)) as connection:
            connection.execute(f"DROP INDEX IF EXISTS {INDEX}".encode())


@contextmanager
def in_schema(fleet: FleetUnderTest, place: Place) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A superuser's connection that stands in that schema."""
    server = "beta" if place[0].startswith("silo_") else "alpha"
    with fleet.platform.superuser(server, place[0]) as connection:
        connection.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(place[1])))
        yield connection


def index(fleet: FleetUnderTest, place: Place) -> str | None:
    """Whether the index is valid or invalid there; None without one."""
    query = (
        "SELECT CASE WHEN indisvalid THEN 'valid' ELSE 'invalid' END FROM pg_index WHERE indexrelid = to_regclass(%s)"
    )
    with in_schema(fleet, place) as connection:
        row = connection.execute(query, [INDEX]).fetchone()
    return None if row is None else str(row[0])


@contextmanager
def an_older_transaction(tenant: TenantUnderTest) -> Iterator[None]:
    """Somebody has looked at the tenant's database before, and may look again. It ends with its server."""
    with (
        contextlib.suppress(psycopg.OperationalError),
        tenant.platform.home_of(tenant) as home,
        home.transaction(),
    ):
        home.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        home.execute("SELECT 1")
        yield


def run(longer: FleetMigration) -> Report:
    return longer.run(Wishes(waves=("100%",), max_failures="100%"), "tests", hands())


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["fast", "immediate"])
@pytest.mark.parametrize("next_one", ["run", "resume"])
def test_an_index_that_a_stopped_server_left_half_built_is_built_again(
    fleet: FleetUnderTest, longer: FleetMigration, elsewhere: ThreadPoolExecutor, how: signal.Signals, next_one: str
) -> None:
    held_up = fleet.of("silo")[1]
    place = place_of(held_up)
    with an_older_transaction(held_up):
        running = elsewhere.submit(run, longer)
        until(lambda: index(fleet, place) == "invalid", what="the index is begun")
        fleet.wait_until_held_up(held_up)
        restart(fleet.platform, "beta", how)
    report = running.result()
    assert report.run_id is not None
    failed = {(outcome.step.target.database, outcome.step.target.schema) for outcome in report.failed}
    assert place in failed <= {place_of(tenant) for tenant in fleet.of("silo")}
    assert index(fleet, place) == "invalid"
    assert fleet.found()[place] != WITH_INDEX
    known = fleet.ledger()
    assert known[place] != WITH_INDEX
    claimed = {where for found in (known, fleet.found()) for where, at in found.items() if at == WITH_INDEX}
    assert {index(fleet, where) for where in claimed} == {"valid"}
    again = longer.resume(report.run_id, "tests", hands()) if next_one == "resume" else run(longer)
    assert (again.state, again.done, again.failed) == ("done", len(failed), ())
    assert set(fleet.ledger().values()) == set(fleet.found().values()) == {WITH_INDEX}
    assert {index(fleet, where) for where in fleet.found()} == {"valid"}
