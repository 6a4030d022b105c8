"""A run over a whole fleet: everybody is brought along, is served meanwhile, and what fails stops nobody else."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import sql

from control_plane.registry import fleet as registry
from control_plane.registry import routes
from control_plane.registry.engine import transaction
from migrations.fleet.chains import HOME
from migrations.fleet.events import Report
from tests.fleet.fleet import NEWEST, FleetUnderTest, place_of
from tests.platform_under_test import TenantUnderTest, copyhold
from tests.waiting import until

pytestmark = pytest.mark.slow

READS = 20
Repair = Callable[[], None]


@contextmanager
def readers(tenants: list[TenantUnderTest]) -> Iterator[Callable[[], bool]]:
    """One reader a tenant, from before the block until after it; says whether all have read since it last said so."""
    seen: Counter[str] = Counter()
    ended = threading.Event()

    def read(tenant: TenantUnderTest) -> None:
        while not ended.is_set():
            answer = tenant.http.get("/api/conversations")
            assert answer.status_code == 200, answer.text
            seen[tenant.slug] += 1

    with ThreadPoolExecutor(len(tenants)) as pool:
        futures = [pool.submit(read, tenant) for tenant in tenants]

        def all_have_read() -> bool:
            for future in futures:
                if future.done():
                    future.result()
            if all(seen[tenant.slug] >= READS for tenant in tenants):
                seen.clear()
                return True
            return False

        try:
            yield all_have_read
        finally:
            ended.set()
    for future in futures:
        future.result()


def test_all_targets_are_brought_along_while_their_tenants_are_served(
    fleet: FleetUnderTest, elsewhere: ThreadPoolExecutor
) -> None:
    *_, held_up = fleet.of("silo")
    targets = len(fleet.ledger())
    watched = [fleet.of("pool")[0], fleet.of("bridge")[0], fleet.of("silo")[0]]
    with readers(watched) as all_have_read:
        until(all_have_read, what="all three are read before")
        with fleet.held_up(held_up):
            running = elsewhere.submit(fleet.run)
            fleet.wait_until_held_up(held_up)
            until(lambda: Counter(fleet.found().values())[NEWEST] == targets - 1, what="all others are there")
            until(all_have_read, what="all three are read meanwhile")
        report = running.result()
        until(all_have_read, what="all three are read after")
    assert (report.done, report.failed, report.ahead) == (targets, (), ())
    assert set(fleet.found().values()) == set(fleet.ledger().values()) == {NEWEST}
    assert fleet.outcomes(report.run_id) == {"done": targets}
    assert {tenant.route.revision for tenant in fleet.tenants} == {NEWEST}
    assert fleet.wanted() == registry.Revisions(home=HOME.head, tenant=NEWEST)


def test_every_route_is_announced_to_whoever_follows_the_roll(fleet: FleetUnderTest) -> None:
    platform = fleet.platform
    with transaction(platform.engine) as session:
        before = routes.version(session)
    with psycopg.connect(platform.settings.control_dsn, autocommit=True) as listening:
        listening.execute("LISTEN copyhold_roll")
        fleet.run()
        assert list(listening.notifies(timeout=30, stop_after=1))
    after, news = routes.news(platform.engine, before)
    changed = {route.tenant_id: route.revision for route in news}
    assert {changed.get(tenant.id) for tenant in fleet.tenants} == {NEWEST}
    until(lambda: platform.control.get("/readyz").json()["roll"]["version"] >= after, what="the API has heard of it")


def test_a_second_run_does_nothing(fleet: FleetUnderTest) -> None:
    fleet.run()
    before = fleet.runs()
    report = fleet.run()
    assert (report.run_id, report.done, report.failed) == (None, 0, ())
    assert report.there_already == len(fleet.ledger()) + len(fleet.homes())
    assert fleet.runs() == before


def a_conflict(fleet: FleetUnderTest) -> tuple[TenantUnderTest, str, Repair]:
    """A bridge schema in which something stands in the way."""
    tenant = fleet.of("bridge")[2]
    with fleet.platform.home_of(tenant) as home:
        home.execute("ALTER TABLE conversations ADD COLUMN last_message_at int")

    def repair() -> None:
        with fleet.platform.home_of(tenant) as home:
            home.execute("ALTER TABLE conversations DROP COLUMN last_message_at")

    return tenant, 'column "last_message_at" of relation "conversations" already exists', repair


def a_closed_database(fleet: FleetUnderTest) -> tuple[TenantUnderTest, str, Repair]:
    """A silo that refuses connections."""
    tenant = fleet.of("silo")[0]
    database, _ = place_of(tenant)

    def allow(allowed: str) -> None:
        statement = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
        with fleet.platform.superuser("beta", "postgres") as admin:
            admin.execute(statement.format(sql.Identifier(database), sql.SQL(allowed)))  # type: ignore[arg-type]

    allow("false")
    return tenant, "is not currently accepting connections", lambda: allow("true")


@pytest.mark.parametrize("hurt", [a_conflict, a_closed_database])
def test_a_target_that_fails_stops_no_other_and_is_taken_up_again(
    fleet: FleetUnderTest, hurt: Callable[[FleetUnderTest], tuple[TenantUnderTest, str, Repair]]
) -> None:
    tenant, reason, repair = hurt(fleet)
    targets = len(fleet.ledger())
    try:
        report = fleet.run()
    finally:
        repair()
    (failed,) = report.failed
    place = place_of(tenant)
    assert (failed.step.target.database, failed.step.target.schema) == place
    assert failed.error is not None
    assert reason in failed.error
    assert report.done == targets - 1
    assert fleet.behind() == {place}
    told = history(fleet, report)
    assert (told["state"], told["targets"]) == ("failed", {"done": targets - 1, "failed": 1})
    assert [reason in failure["error"] for failure in told["failed"]] == [True]
    assert tenant.http.get("/api/conversations").status_code == 200
    again = fleet.run()
    assert (again.done, again.failed, fleet.outcomes(again.run_id)) == (1, (), {"done": 1})
    assert fleet.behind() == set()


def history(fleet: FleetUnderTest, report: Report) -> dict[str, object]:
    """What a person is told of that run."""
    said = copyhold("migrate", "history", "--run", str(report.run_id), "--json", "--data", str(fleet.platform.data))
    return dict(json.loads(said.stdout))
