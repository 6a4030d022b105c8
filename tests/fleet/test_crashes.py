"""A run whose process, server or ledger goes away in its middle: what is done stays done, the rest is done next."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from uuid import UUID

import psycopg
import pytest

from control_plane.registry import fleet as registry
from control_plane.registry import reports
from control_plane.registry.engine import ControlDatabaseError, transaction
from tests.fleet.fleet import BEHIND, NEWEST, FleetUnderTest, place_of
from tests.parts import FAST, IMMEDIATE, restart
from tests.platform_under_test import COPYHOLD
from tests.waiting import until

pytestmark = pytest.mark.slow


@contextmanager
def migrate_up(fleet: FleetUnderTest, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """`copyhold migrate up`, as a process that can be killed."""
    command = [*COPYHOLD, "migrate", "up", "--waves", "100%", *options, "--data", str(fleet.platform.data)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def newest_runs(fleet: FleetUnderTest, limit: int) -> list[UUID]:
    with transaction(fleet.platform.engine) as session:
        return [row.id for row, _ in registry.runs(session, limit)]


@pytest.mark.parametrize("model", ["pool", "bridge", "silo"])
def test_a_killed_run_is_not_shown_as_running_and_the_next_one_does_the_rest(fleet: FleetUnderTest, model: str) -> None:
    *_, held_up = fleet.of(model)  # the first goes ahead of the others
    others = len(fleet.ledger()) - 1
    with fleet.held_up(held_up), migrate_up(fleet) as process:
        fleet.wait_until_held_up(held_up)
        until(lambda: fleet.runs()[0][1].get("done") == others, what="all others are recorded")
        assert fleet.runs()[0] == ("running", {"done": others, "planned": 1})
        process.kill()
        process.wait()
        until(lambda: fleet.runs()[0][0] == "interrupted", what="the killed run is known to be one")
    # The server has the whole of what was sent: it does that, or nothing of it, when its turn comes or is over.
    fleet.wait_until_nobody_migrates()
    arrived = fleet.found()[place_of(held_up)] == NEWEST
    assert fleet.ledger()[place_of(held_up)] == BEHIND
    (run_id,) = newest_runs(fleet, 1)
    report = fleet.resume(run_id)
    assert (report.run_id, report.done, report.failed) == (run_id, 0 if arrived else 1, ())
    assert fleet.behind() == set()
    assert fleet.runs()[0] == ("done", {"done": others + 1})


def test_a_killed_run_is_closed_for_whoever_asks_for_it_alone(fleet: FleetUnderTest) -> None:
    held_up = fleet.of("silo")[1]
    with fleet.held_up(held_up), migrate_up(fleet) as process:
        fleet.wait_until_held_up(held_up)
        with transaction(fleet.platform.engine) as session:
            run_id = session.connection().exec_driver_sql("SELECT max(id::text)::uuid FROM migration_runs").scalar_one()
        process.kill()
        process.wait()

        def state() -> str:
            with transaction(fleet.platform.engine) as session:
                return reports.run(session, run_id)[0].state

        until(lambda: state() == "interrupted", what="the killed run is known to be one")


@pytest.mark.parametrize("how", [FAST, IMMEDIATE], ids=["fast", "immediate"])
def test_a_server_that_stops_in_the_middle_fails_its_own_targets_alone(
    fleet: FleetUnderTest, elsewhere: ThreadPoolExecutor, how: signal.Signals
) -> None:
    held_up = fleet.of("silo")[2]
    silos = {place for place in fleet.ledger() if place[0].startswith("silo_")}
    with contextlib.suppress(psycopg.OperationalError), fleet.held_up(held_up):
        running = elsewhere.submit(fleet.run)
        fleet.wait_until_held_up(held_up)
        restart(fleet.platform, "beta", how)
    report = running.result()
    failed = {(outcome.step.target.database, outcome.step.target.schema) for outcome in report.failed}
    assert place_of(held_up) in failed <= silos
    assert {place for place, revision in fleet.ledger().items() if revision != NEWEST} == failed
    # One may have been committed whose answer never came: it is taken for failed, and found out by the next run.
    assert {place for place, revision in fleet.found().items() if revision != NEWEST} <= failed
    again = fleet.run()
    assert (again.done, again.failed) == (len(failed), ())
    assert fleet.behind() == set()


def test_a_run_whose_ledger_goes_away_ends_and_begins_nothing_more(
    fleet: FleetUnderTest, elsewhere: ThreadPoolExecutor
) -> None:
    held_up = fleet.of("pool")[0]
    with fleet.held_up(held_up):
        running = elsewhere.submit(fleet.run)
        fleet.wait_until_held_up(held_up)
        until(lambda: len(fleet.runs()[0][1]) == 2, what="some are recorded")
        restart(fleet.platform, "control", IMMEDIATE)
    with pytest.raises(ControlDatabaseError):
        running.result()
    until(lambda: fleet.runs()[0][0] == "interrupted", what="the run is known to be interrupted")
    report = fleet.run()
    assert report.failed == ()
    assert fleet.behind() == set()


def test_a_command_that_is_killed_again_and_again_gets_there_in_the_end(fleet: FleetUnderTest) -> None:
    """Each time a little later: afterwards every target is at the old or the new revision, and none in between."""
    for number in range(10):
        with migrate_up(fleet, "--at-once", "1") as process:
            time.sleep(0.6 + number * 0.06)
            process.kill()
            process.wait()
        fleet.wait_until_nobody_migrates()
        assert set(fleet.found().values()) <= {BEHIND, NEWEST}
        with_column = {place for place in fleet.found() if fleet.has_new_column(place)}
        assert with_column == {place for place, revision in fleet.found().items() if revision == NEWEST}
    report = fleet.run(verify=True)
    assert report.failed == ()
    assert fleet.behind() == set()
    assert "running" not in {state for state, _ in fleet.runs()}
