"""A run over a real fleet, started, followed and stopped by HTTP and done by the worker, whatever becomes of it."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx
import pytest

from control_plane.registry.engine import transaction
from control_plane.staff import service
from control_plane.staff.roles import StaffRole
from migrations.fleet.events import STOPPED_BY_SOMEBODY
from tests.fleet.fleet import BEHIND, NEWEST, FleetUnderTest, place_of
from tests.platform_under_test import PlatformUnderTest
from tests.provisioning.workers import workers_alone
from tests.waiting import until

pytestmark = pytest.mark.slow
RUNS = "/admin/migrations"


@pytest.fixture
def ops(fleet: FleetUnderTest) -> httpx.Client:
    """A member of staff with a token."""
    return staff(fleet.platform)


def staff(platform: PlatformUnderTest) -> httpx.Client:
    with transaction(platform.engine) as session:
        email = f"{uuid4().hex}@example.com"
        member = service.add(session, email=email, role=StaffRole.OPS, actor="tests")
        token = service.issue_token(session, member, actor="tests")
    return platform.client(f"localhost:{platform.port}", token)


def start(ops: httpx.Client, **wish: object) -> str:
    answer = ops.post(RUNS, json={"waves": ["100%"], **wish})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def state(ops: httpx.Client, run: str) -> str:
    return str(ops.get(f"{RUNS}/{run}").json()["state"])


def follow(ops: httpx.Client, run: str) -> list[dict[str, Any]]:
    with ops.stream("GET", f"{RUNS}/{run}/events", timeout=60) as answer:
        return [json.loads(line) for line in answer.iter_lines()]


def test_a_run_is_followed_to_its_end(fleet: FleetUnderTest, ops: httpx.Client) -> None:
    run = start(ops, waves=["1", "100%"])
    told = follow(ops, run)
    first, *targets, last = told
    assert (first["event"], last["event"], last["state"]) == ("run", "end", "done")
    assert {target["event"] for target in targets} == {"target"}
    places = [(target["database"], target["schema"]) for target in targets if target["chain"] == "tenant"]
    assert sorted(places) == sorted(fleet.found())
    assert set(fleet.found().values()) == {NEWEST}
    assert fleet.behind() == set()
    assert fleet.wanted().tenant == NEWEST
    details = ops.get(f"{RUNS}/{run}").json()
    assert details["to_revision"] == NEWEST
    assert details["code_version"]
    assert [sum(wave["targets"].values()) for wave in details["waves"]] == [1, len(places) - 1]
    again = follow(ops, start(ops))
    assert [(line["event"], line["state"]) for line in (again[-1],)] == [("end", "done")]


def test_a_run_is_stopped_and_what_is_in_flight_is_finished(fleet: FleetUnderTest, ops: httpx.Client) -> None:
    held = fleet.of("bridge")[0]
    with fleet.held_up(held):
        run = start(ops, at_once=1)
        fleet.wait_until_held_up(held)
        assert ops.post(RUNS, json={}).status_code == 409
        assert ops.post(f"{RUNS}/{run}/stop").json()["state"] == "stopping"
        until(lambda: state(ops, run) == "stopped", what="the run is stopped")
    details = ops.get(f"{RUNS}/{run}").json()
    assert details["reason"] == STOPPED_BY_SOMEBODY
    assert details["targets"]["not_started"] > 0
    assert details["targets"]["failed"] == 1, "it was held up for longer than a migration waits"
    assert len(fleet.behind()) == details["targets"]["not_started"] + 1
    assert place_of(held) in fleet.behind()
    assert ops.post(f"{RUNS}/{run}/stop").status_code == 409


def test_a_target_that_is_not_as_built_anew_is_told_at_the_end(fleet: FleetUnderTest, ops: httpx.Client) -> None:
    odd = fleet.of("silo")[0]
    with fleet.platform.home_of(odd) as home:
        home.execute("ALTER TABLE sessions ADD COLUMN odd int")
        try:
            run = start(ops)
            until(lambda: state(ops, run) == "failed", what="the run has ended")
        finally:
            home.execute("ALTER TABLE sessions DROP COLUMN odd")
    details = ops.get(f"{RUNS}/{run}").json()
    database, schema = place_of(odd)
    assert f"{database} / {schema}: column sessions.odd unexpected" in details["reason"]
    assert details["failed"] == []
    assert fleet.behind() == set()


def test_what_cannot_be_ends_the_run_with_the_reason(fleet: FleetUnderTest, ops: httpx.Client) -> None:
    run = start(ops, to="0999")
    until(lambda: state(ops, run) == "failed", what="the run has failed")
    assert "there is no revision '0999'" in ops.get(f"{RUNS}/{run}").json()["reason"]
    run = start(ops, waves=["5", "3", "100%"])
    until(lambda: state(ops, run) == "failed", what="the run has failed")
    assert "further than the one before" in ops.get(f"{RUNS}/{run}").json()["reason"]
    assert set(fleet.found().values()) == {BEHIND}


def test_a_command_that_goes_on_is_stopped_too(fleet: FleetUnderTest, ops: httpx.Client) -> None:
    held = fleet.of("bridge")[0]
    with ThreadPoolExecutor(1) as elsewhere, fleet.held_up(held):
        going = elsewhere.submit(fleet.run, at_once=1)
        fleet.wait_until_held_up(held)
        (run,) = [run["id"] for run in ops.get(RUNS).json()["items"] if run["state"] == "running"]
        assert ops.post(f"{RUNS}/{run}/stop").status_code == 202
        report = going.result()
    assert report.state == "stopped"


def test_a_killed_workers_run_is_finished_by_another(fleet: FleetUnderTest, ops: httpx.Client) -> None:
    held = fleet.of("bridge")[2]
    with workers_alone(fleet.platform) as workers:
        workers.start("worker-a")
        with fleet.held_up(held):
            run = start(ops, at_once=1)
            fleet.wait_until_held_up(held)
            done = ops.get(f"{RUNS}/{run}").json()["targets"].get("done", 0)
            workers.kill("worker-a")
            until(lambda: state(ops, run) == "interrupted", what="its death is noticed")
        workers.start("worker-b")
        told = follow(ops, run)
        assert (told[-1]["event"], told[-1]["state"]) == ("end", "done")
    places = [(line["database"], line["schema"]) for line in told if line["event"] == "target"]
    assert len(places) == len(set(places)) >= len(fleet.found()) > done > 0
    assert fleet.behind() == set()
