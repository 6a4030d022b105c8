"""Workflows are looked at, followed and gone on with by staff; here no worker takes them up."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from control_plane.api.admin import workflow_work
from control_plane.api.control import FOLLOWERS_AT_ONCE
from control_plane.registry import progress, warm, workflow_records
from control_plane.registry.engine import transaction
from control_plane.registry.workflows import REPLENISH
from control_plane.staff.roles import StaffRole
from tests.control_plane.house import ControlPlane

WORKFLOWS = "/admin/workflows"


async def wished(control_plane: ControlPlane, slug: str = "acme") -> str:
    """A tenant that nobody makes; the workflow that would."""
    wish = {"name": "Acme", "slug": slug, "plan": "professional", "model": "silo"}
    answer = await control_plane.staff(StaffRole.OPS).post("/admin/tenants", json=wish)
    assert answer.status_code == 202, answer.text
    return str(control_plane.tenant(slug).workflow_id)


def done(control_plane: ControlPlane, workflow_id: str, *steps: str) -> None:
    with transaction(control_plane.engine) as session:
        for position, step in enumerate(steps):
            progress.record(session, workflow_id, position, step, 12)


def ended(control_plane: ControlPlane, workflow_id: str, error: str | None = None) -> None:
    with transaction(control_plane.engine) as session:
        workflow_records.ended(session, workflow_id, error)


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


async def test_what_was_started_is_on_record_with_who_started_it(fresh: ControlPlane) -> None:
    workflow_id = await wished(fresh)
    found = (await fresh.staff(StaffRole.SUPPORT).get(f"{WORKFLOWS}/{workflow_id}")).json()
    assert (found["id"], found["kind"], found["state"]) == (workflow_id, "provision", "requested")
    assert (found["error"], found["ended_at"], found["steps"]) == (None, None, [])
    assert found["subject"] == str(fresh.tenant("acme").id)
    assert found["actor"].startswith("ops")
    details = (await fresh.staff(StaffRole.SUPPORT).get("/admin/tenants/acme")).json()
    assert details["workflow"] == found


async def test_a_run_over_the_fleet_is_on_record_too(fresh: ControlPlane) -> None:
    ops = fresh.staff(StaffRole.OPS)
    run = (await ops.post("/admin/migrations", json={})).json()
    with transaction(fresh.engine) as session:
        (record,) = workflow_records.of_subject(session, run["id"], 10)
    assert (record.kind, record.state, record.actor) == ("migrate", "requested", run["actor"])
    ended(fresh, record.id, "it broke")
    refused = await ops.post(f"{WORKFLOWS}/{record.id}/retry")
    assert (refused.status_code, refused.json()["code"]) == (409, "nothing_to_retry")
    assert "migrate resume" in refused.json()["detail"]


async def test_an_ended_workflows_stream_tells_it_all_and_ends(fresh: ControlPlane) -> None:
    workflow_id = await wished(fresh)
    done(fresh, workflow_id, "choose_home", "build_home", "seed")
    ended(fresh, workflow_id, "the disk is full")
    answer = await fresh.staff(StaffRole.SUPPORT).get(f"{WORKFLOWS}/{workflow_id}/events")
    assert answer.headers["content-type"].partition(";")[0] == "application/x-ndjson"
    told = lines(answer.text)
    assert [line["event"] for line in told] == ["workflow", "step", "step", "step", "end"]
    assert [line["step"] for line in told[1:-1]] == ["choose_home", "build_home", "seed"]
    assert (told[0]["state"], told[0]["kind"]) == ("failed", "provision")
    assert (told[-1]["state"], told[-1]["error"]) == ("failed", "the disk is full")


async def test_a_step_is_told_in_one_look_and_no_other(fresh: ControlPlane) -> None:
    workflow_id = await wished(fresh)
    told: list[str] = []
    seen = 0
    for steps in (("choose_home",), ("choose_home", "build_home"), ("choose_home", "build_home"), ()):
        done(fresh, workflow_id, *steps)
        with transaction(fresh.engine) as session:
            found = workflow_work.look(session, workflow_id, seen)
        seen = found.seen
        told += [step.step for step in found.steps]
    assert told == ["choose_home", "build_home"]


async def test_no_more_than_so_many_follow(fresh: ControlPlane) -> None:
    ops = fresh.staff(StaffRole.OPS)
    workflow_id = await wished(fresh)
    path = f"{WORKFLOWS}/{workflow_id}/events"
    asked = {asyncio.create_task(ops.get(path)) for _ in range(FOLLOWERS_AT_ONCE + 1)}
    refused, following = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED, timeout=30)
    assert [(task.result().status_code, task.result().json()["code"]) for task in refused] == [(503, "control_busy")]
    ended(fresh, workflow_id)
    answers = await asyncio.gather(*following)
    assert {lines(answer.text)[-1]["state"] for answer in answers} == {"done"}


async def test_an_unknown_workflow_is_neither_shown_nor_followed_nor_gone_on_with(shared: ControlPlane) -> None:
    ops = shared.staff(StaffRole.OPS)
    unknown = f"{WORKFLOWS}/provision/nobody/nothing"
    answers = [await ops.get(unknown), await ops.get(f"{unknown}/events"), await ops.post(f"{unknown}/retry")]
    assert [answer.status_code for answer in answers] == [404, 404, 404]
    assert (await shared.staff(StaffRole.SUPPORT).post(f"{unknown}/retry")).status_code == 403
    assert (await shared.client().get(f"{unknown}/events")).status_code == 401


async def test_a_failed_making_is_gone_on_with_once(fresh: ControlPlane) -> None:
    ops = fresh.staff(StaffRole.OPS)
    workflow_id = await wished(fresh)
    early = await ops.post(f"{WORKFLOWS}/{workflow_id}/retry")
    assert (early.status_code, early.json()["code"]) == (409, "nothing_to_retry")
    fresh.fail(fresh.tenant("acme").id)
    ended(fresh, workflow_id, "the disk is full")
    again = await ops.post(f"{WORKFLOWS}/{workflow_id}/retry")
    assert again.status_code == 202, again.text
    assert (again.json()["kind"], again.json()["state"]) == ("provision", "requested")
    assert again.json()["id"] != workflow_id
    assert again.headers["Location"] == f"{WORKFLOWS}/{again.json()['id']}"
    assert (fresh.tenant("acme").status, fresh.tenant("acme").workflow_id) == ("provisioning", again.json()["id"])
    twice = await ops.post(f"{WORKFLOWS}/{workflow_id}/retry")
    assert twice.status_code == 409
    assert again.json()["id"] in twice.json()["detail"]
    assert fresh.workflows() == ["provision", "provision"]


@pytest.mark.parametrize("verb", ["suspend", "resume"])
async def test_a_failed_change_of_state_is_gone_on_with(fresh: ControlPlane, verb: str) -> None:
    ops = fresh.staff(StaffRole.OPS)
    await fresh.active_tenant("acme")
    await ops.post("/admin/tenants/acme/suspend")
    if verb == "resume":
        await ops.post("/admin/tenants/acme/resume")
    workflow_id = str(fresh.tenant("acme").workflow_id)
    ended(fresh, workflow_id, "the server is down")
    again = await ops.post(f"{WORKFLOWS}/{workflow_id}/retry")
    assert (again.status_code, again.json()["kind"]) == (202, verb)
    assert fresh.tenant("acme").workflow_id == again.json()["id"]
    assert fresh.tenant("acme").status == "suspended"


async def test_what_was_overtaken_by_a_later_one_is_not_gone_on_with(fresh: ControlPlane) -> None:
    ops = fresh.staff(StaffRole.OPS)
    await fresh.active_tenant("acme")
    await ops.post("/admin/tenants/acme/suspend")
    suspended = str(fresh.tenant("acme").workflow_id)
    ended(fresh, suspended, "the server is down")
    await ops.post("/admin/tenants/acme/resume")
    answer = await ops.post(f"{WORKFLOWS}/{suspended}/retry")
    assert (answer.status_code, answer.json()["code"]) == (409, "nothing_to_retry")


async def test_servers_warm_silos_are_asked_for_once_until_a_worker_begins(fresh: ControlPlane) -> None:
    with transaction(fresh.engine) as session:
        warm.keep(session, fresh.parts.workflows, "beta", 2, "test")
    with transaction(fresh.engine) as session:
        warm.replenish(session, fresh.parts.workflows, "beta", "test")
    assert fresh.workflows() == [REPLENISH]
    with transaction(fresh.engine) as session:
        (record,) = workflow_records.of_subject(session, warm.subject_of("beta"), 10)
        workflow_records.begun(session, record.id)
    with transaction(fresh.engine) as session:
        warm.replenish(session, fresh.parts.workflows, "beta", "test")
    assert fresh.workflows() == [REPLENISH, REPLENISH]


async def test_a_failed_replenishing_is_gone_on_with(fresh: ControlPlane) -> None:
    with transaction(fresh.engine) as session:
        warm.keep(session, fresh.parts.workflows, "beta", 2, "test")
        (record,) = workflow_records.of_subject(session, warm.subject_of("beta"), 10)
        workflow_records.ended(session, record.id, "the server is down")
    again = await fresh.staff(StaffRole.OPS).post(f"{WORKFLOWS}/{record.id}/retry")
    assert (again.status_code, again.json()["kind"]) == (202, REPLENISH)
