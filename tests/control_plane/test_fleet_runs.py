"""A run over the fleet is asked for, followed and stopped by staff; here no worker takes it up."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from control_plane.api.control import FOLLOWERS_AT_ONCE
from control_plane.domain.tenant import Model
from control_plane.registry import fleet, fleet_runs, servers
from control_plane.registry.engine import transaction
from control_plane.registry.fleet import TargetOutcome
from control_plane.staff.roles import StaffRole
from tests.control_plane.house import UNKNOWN_ID, ControlPlane

pytestmark = pytest.mark.slow

RUNS = "/admin/migrations"


def recorded(control_plane: ControlPlane) -> list[tuple[str, dict[str, Any]]]:
    with transaction(control_plane.engine) as session:
        return [(row.state, row.options) for row, _ in fleet.runs(session, 100)]


def audited(control_plane: ControlPlane) -> list[str]:
    with control_plane.engine.connect() as connection:
        return list(
            connection.execute(text("SELECT action FROM audit_log WHERE action LIKE 'migrate%' ORDER BY id")).scalars()
        )


def tell(control_plane: ControlPlane, statement: str, **values: object) -> None:
    with transaction(control_plane.engine) as session:
        session.execute(text(statement), values)


async def test_a_run_is_recorded_with_its_wishes_and_its_workflow(fresh: ControlPlane) -> None:
    ops = fresh.staff(StaffRole.OPS)
    wish = {"to": "0002", "waves": ["1", "25%", "100%"], "canaries": {"labels": ["friendly"]}, "at_once": 3}
    answer = await ops.post(RUNS, json=wish)
    assert answer.status_code == 202, answer.text
    run = answer.json()
    assert (run["state"], run["to_revision"], run["targets"]) == ("requested", "0002", {})
    nobody: dict[str, list[str]] = {"names": [], "labels": [], "plans": [], "servers": []}
    assert recorded(fresh) == [
        (
            "requested",
            {**wish, "only": nobody, "canaries": {**nobody, "labels": ["friendly"]}, "verify": False},
        )
    ]
    assert fresh.workflows() == ["migrate"]
    assert audited(fresh) == ["migrate.up"]
    details = (await ops.get(answer.headers["Location"])).json()
    assert details == {**run, "waves": [], "failed": []}


@pytest.mark.parametrize("state", ["requested", "stopping"])
async def test_a_second_run_is_refused_while_one_has_not_ended(fresh: ControlPlane, state: str) -> None:
    ops = fresh.staff(StaffRole.OPS)
    run = (await ops.post(RUNS, json={})).json()
    with fleet.holding_fleet(fresh.engine, UUID(run["id"])):
        tell(fresh, "UPDATE migration_runs SET state = :state", state=state)
        answer = await ops.post(RUNS, json={})
    assert (answer.status_code, answer.json()["code"]) == (409, "fleet_busy")
    assert run["id"] in answer.json()["detail"]
    assert len(recorded(fresh)) == 1
    assert fresh.workflows() == ["migrate"]


async def test_of_two_at_the_same_time_one_is_recorded(fresh: ControlPlane) -> None:
    ops = fresh.staff(StaffRole.OPS)
    answers = await asyncio.gather(*(ops.post(RUNS, json={}) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [202, 409, 409, 409]


@pytest.mark.parametrize(
    "wish",
    [
        {"to": ""},
        {"to": "0002; DROP"},
        {"waves": []},
        {"waves": ["1"]},
        {"waves": ["all", "100%"]},
        {"waves": ["1"] * 50 + ["100%"]},
        {"canaries": {"names": ["x"] * 1001}},
        {"only": {"plans": ["gold"]}},
        {"only": {"everybody": True}},
        {"max_failures": "many"},
        {"at_once": 0},
        {"at_once": 1000},
        {"down": True},
    ],
)
async def test_a_wish_that_cannot_be_is_refused_and_not_recorded(shared: ControlPlane, wish: dict[str, object]) -> None:
    answer = await shared.staff(StaffRole.OPS).post(RUNS, json=wish)
    assert answer.status_code == 422, answer.text
    assert recorded(shared) == []


async def test_support_sees_runs_and_starts_and_stops_none(shared: ControlPlane) -> None:
    support = shared.staff(StaffRole.SUPPORT)
    for answer in (await support.post(RUNS, json={}), await support.post(f"{RUNS}/{UNKNOWN_ID}/stop")):
        assert answer.status_code == 403
    assert (await support.get(RUNS)).json() == {"items": []}
    for answer in (await support.get(f"{RUNS}/{UNKNOWN_ID}"), await support.get(f"{RUNS}/{UNKNOWN_ID}/events")):
        assert answer.status_code == 404
    assert (await shared.client().post(RUNS, json={})).status_code == 401


async def test_another_site_starts_nothing_with_a_session(shared: ControlPlane) -> None:
    browser = await shared.signed_in(StaffRole.OPS)
    answer = await browser.post(
        RUNS, json={}, headers={"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}
    )
    assert answer.status_code == 403
    assert recorded(shared) == []


async def test_a_run_that_has_not_begun_is_stopped_at_once_and_only_once(fresh: ControlPlane) -> None:
    ops = fresh.staff(StaffRole.OPS)
    run = (await ops.post(RUNS, json={})).json()
    stopped = await ops.post(f"{RUNS}/{run['id']}/stop")
    assert (stopped.status_code, stopped.json()["state"]) == (202, "stopped")
    again = await ops.post(f"{RUNS}/{run['id']}/stop")
    assert (again.status_code, again.json()["code"]) == (409, "run_not_running")
    assert (await ops.post(f"{RUNS}/{UNKNOWN_ID}/stop")).status_code == 404
    assert audited(fresh) == ["migrate.up", "migrate.stop"]
    with transaction(fresh.engine) as session:
        assert not fleet_runs.begin(session, UUID(run["id"]))


async def test_a_run_that_nobody_carries_out_right_now_is_stopped_for_good(fresh: ControlPlane) -> None:
    ops = fresh.staff(StaffRole.OPS)
    run = (await ops.post(RUNS, json={})).json()
    tell(fresh, "UPDATE migration_runs SET state = 'running'")
    assert (await ops.get(f"{RUNS}/{run['id']}")).json()["state"] == "interrupted"  # its worker died
    stopped = await ops.post(f"{RUNS}/{run['id']}/stop")
    assert (stopped.status_code, stopped.json()["state"]) == (202, "stopped")
    with transaction(fresh.engine) as session:
        assert not fleet_runs.begin(session, UUID(run["id"])), "another worker would go on with it"


async def test_a_run_whose_process_died_while_it_was_to_stop_counts_as_stopped(fresh: ControlPlane) -> None:
    ops = fresh.staff(StaffRole.OPS)
    run = (await ops.post(RUNS, json={})).json()
    with fleet.holding_fleet(fresh.engine, UUID(run["id"])):
        tell(fresh, "UPDATE migration_runs SET state = 'running'")
        stopping = await ops.post(f"{RUNS}/{run['id']}/stop")
        assert (stopping.status_code, stopping.json()["state"]) == (202, "stopping")
    assert (await ops.get(f"{RUNS}/{run['id']}")).json()["state"] == "stopped"


async def test_an_ended_runs_stream_tells_it_all_and_ends(fresh: ControlPlane) -> None:
    ops = fresh.staff(StaffRole.OPS)
    run_id = UUID((await ops.post(RUNS, json={})).json()["id"])
    outcomes = planned(fresh, run_id, 3)
    with transaction(fresh.engine) as session:
        fleet.record_outcomes(session, run_id, outcomes[:2])
        fleet.end_run(session, run_id, "stopped", "enough")
    answer = await fresh.staff(StaffRole.SUPPORT).get(f"{RUNS}/{run_id}/events")
    assert answer.headers["content-type"].partition(";")[0] == "application/x-ndjson"
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["event"] for line in lines] == ["run", "target", "target", "end"]
    assert {(line["schema"], line["state"], line["database"]) for line in lines[1:3]} == {
        ("s0", "done", "pool_1"),
        ("s1", "done", "pool_1"),
    }
    assert (lines[-1]["state"], lines[-1]["reason"]) == ("stopped", "enough")
    assert lines[-1]["targets"] == {"done": 2, "not_started": 1}


def planned(control_plane: ControlPlane, run_id: UUID, number: int) -> list[TargetOutcome]:
    with transaction(control_plane.engine) as session:
        database = servers.ensure_database(session, "alpha", "pool_1", Model.POOL)
        rows = [
            {
                "run_id": run_id,
                "chain": "tenant",
                "database_id": database.id,
                "schema": f"s{position}",
                "from_revision": "0001",
                "to_revision": "0002",
                "state": "planned",
                "wave": 1,
            }
            for position in range(number)
        ]
        fleet.plan_targets(session, rows)
    return [
        TargetOutcome(
            chain="tenant",
            database_id=database.id,
            schema=f"s{position}",
            state="done",
            revision=None,
            attempts=1,
            error=None,
            duration_ms=1,
        )
        for position in range(number)
    ]


async def test_what_is_new_is_told_once_whatever_is_committed_late(fresh: ControlPlane) -> None:
    run_id = UUID((await fresh.staff(StaffRole.OPS).post(RUNS, json={})).json()["id"])
    outcomes = planned(fresh, run_id, 3)
    told: list[str] = []
    marker: str | None = None

    def look() -> None:
        nonlocal marker
        with transaction(fresh.engine) as session:
            news, marker = fleet_runs.news(session, run_id, marker)
        told.extend(each.schema for each in news)

    look()
    with transaction(fresh.engine) as early:
        fleet.record_outcomes(early, run_id, outcomes[:1])
        with transaction(fresh.engine) as late:
            fleet.record_outcomes(late, run_id, outcomes[1:2])
        look()
        assert told == ["s1"]
    look()
    assert told == ["s1", "s0"]
    look()
    with transaction(fresh.engine) as session:
        fleet.record_outcomes(session, run_id, outcomes[2:])
    look()
    look()
    assert told == ["s1", "s0", "s2"]


async def test_no_more_than_so_many_follow_and_a_seat_comes_free_again(fresh: ControlPlane) -> None:
    ops = fresh.staff(StaffRole.OPS)
    run_id = (await ops.post(RUNS, json={})).json()["id"]
    path = f"{RUNS}/{run_id}/events"
    asked = {asyncio.create_task(ops.get(path)) for _ in range(FOLLOWERS_AT_ONCE + 1)}
    refused, following = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED, timeout=30)
    assert [(task.result().status_code, task.result().json()["code"]) for task in refused] == [(503, "control_busy")]
    gone = following.pop()
    gone.cancel()
    await asyncio.wait({gone})
    successor = asyncio.create_task(ops.get(path))
    await ops.post(f"{RUNS}/{run_id}/stop")
    answers = await asyncio.gather(*following, successor)
    assert {answer.status_code for answer in answers} == {200}
    assert {json.loads(answer.text.splitlines()[-1])["event"] for answer in answers} == {"end"}
