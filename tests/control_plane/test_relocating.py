"""Draining servers and evening them out, as staff do it over HTTP; what workers do then is done by hand here."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from control_plane.api.admin import move_run_work
from control_plane.domain.ids import new_id
from control_plane.domain.moving import Phase
from control_plane.domain.names import SHARED_SCHEMA
from control_plane.domain.tenant import Model, Status
from control_plane.registry import fleet, move_runs, moves, servers, tenants, workflow_records
from control_plane.registry.engine import transaction
from control_plane.registry.servers import Measured
from control_plane.registry.tables import HomeRow, MoveRow
from control_plane.staff.roles import StaffRole
from control_plane.tenants import relocating
from tests.control_plane.house import UNKNOWN_ID, ControlPlane, server

pytestmark = pytest.mark.slow

NOT_KEPT = {"undo_window_s": 0}


@pytest.fixture
async def plane(fresh: ControlPlane) -> ControlPlane:
    """Three tenants in alpha's pool, and gamma, which takes pool tenants and has a pool with room."""
    for number in range(3):
        tenant = await fresh.active_tenant(f"tenant-{number}")
        with transaction(fresh.engine) as session:
            assert tenant.workflow_id is not None
            workflow_records.ended(session, tenant.workflow_id)
    with transaction(fresh.engine) as session:
        servers.register(session, server("gamma", Model.POOL))
        for database in servers.databases_of(session, "alpha", Model.POOL):
            database.home_revision = "h0001"
        servers.ensure_database(session, "gamma", "pool_2", Model.POOL).home_revision = "h0001"
    return fresh


def work(plane: ControlPlane, run_id: str) -> list[str]:
    """Begin all that may begin now, as workers do; who is on the way then."""
    going_on = True
    while going_on:
        with transaction(plane.engine) as session:
            going_on = relocating.go_on(session, plane.parts.workflows, UUID(run_id), {})
    with transaction(plane.engine) as session:
        return sorted(slug for _, slug in moves.on_their_way(session))


def end(plane: ControlPlane, slug: str, phase: Phase = Phase.DONE) -> None:
    """Have a move end, as far as the roll can see it: in gamma's pool, or where it began."""
    with transaction(plane.engine) as session:
        tenant = tenants.find(session, slug, lock=True)
        move = moves.open_of(session, tenant.id)
        assert move is not None
        if phase is not Phase.CALLED_OFF:
            session.get_one(HomeRow, move.source_id).state = "kept" if phase is Phase.KEPT else "left"
            session.flush()
            (pool,) = servers.databases_of(session, "gamma", Model.POOL)
            home = HomeRow(id=new_id(), tenant_id=tenant.id, database_id=pool.id, schema=SHARED_SCHEMA, model="pool")
            home.state = "current"
            session.add(home)
            session.flush()
            move.target_id = home.id
        move.phase, move.reason = str(phase), "it differs" if phase is Phase.CALLED_OFF else None
        tenants.change_status(tenant, Status.ACTIVE)
        assert move.workflow_id is not None
        workflow_records.ended(session, move.workflow_id)


async def details(plane: ControlPlane, run_id: str) -> dict[str, object]:
    found: dict[str, object] = (await plane.staff(StaffRole.SUPPORT).get(f"/admin/move-runs/{run_id}")).json()
    return found


async def test_a_server_is_drained_two_at_a_time_until_nobody_lives_there(plane: ControlPlane) -> None:
    ops = plane.staff(StaffRole.OPS)
    answer = await ops.post("/admin/servers/alpha/drain", json=NOT_KEPT)
    assert answer.status_code == 202, answer.text
    run = answer.json()
    assert (run["state"], run["left"], run["at_once"]) == ("open", 3, 2)
    assert answer.headers["Location"] == f"/admin/move-runs/{run['id']}"
    assert (await ops.get("/admin/servers/alpha")).json()["status"] == "draining"
    assert work(plane, run["id"]) == ["tenant-0", "tenant-1"]
    end(plane, "tenant-0")
    assert work(plane, run["id"]) == ["tenant-1", "tenant-2"]
    for slug in ("tenant-1", "tenant-2"):
        end(plane, slug)
    assert work(plane, run["id"]) == []
    found = await details(plane, run["id"])
    assert (found["state"], found["moved"], found["left"], found["stays"]) == ("done", 3, 0, [])
    listed = (await ops.get("/admin/move-runs")).json()["items"]
    assert [each["id"] for each in listed] == [run["id"]]


async def test_a_run_is_followed_as_it_goes_each_change_of_a_move_told_once(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = (await plane.staff().post("/admin/servers/alpha/drain", json=NOT_KEPT)).json()
    work(plane, run["id"])
    seen: Mapping[UUID, tuple[Any, ...]] = {}
    told = []
    for ended in (None, None, "tenant-0", "tenant-1"):
        if ended is not None:
            end(plane, ended)
        with transaction(plane.engine) as session:
            found = move_run_work.look(session, UUID(run["id"]), seen)
        seen = found.seen
        told.append([(move.tenant, move.phase) for move in found.moves])
    asked, done = Phase.REQUESTED, Phase.DONE
    assert told == [[("tenant-0", asked), ("tenant-1", asked)], [], [("tenant-0", done)], [("tenant-1", done)]]

    look, looked = move_run_work.look, threading.Event()

    def looking(session: Session, run_id: UUID, seen: Mapping[UUID, tuple[Any, ...]]) -> move_run_work.Look:
        found = look(session, run_id, seen)
        looked.set()
        return found

    monkeypatch.setattr(move_run_work, "look", looking)
    following = asyncio.create_task(plane.staff(StaffRole.SUPPORT).get(f"/admin/move-runs/{run['id']}/events"))
    assert await asyncio.to_thread(looked.wait, 30)
    work(plane, run["id"])
    end(plane, "tenant-2")
    work(plane, run["id"])
    answer = await following
    assert answer.headers["content-type"].partition(";")[0] == "application/x-ndjson"
    events = [json.loads(line) for line in answer.text.splitlines()]
    assert [(each["event"], each.get("tenant")) for each in events[:3]] == [
        ("run", None),
        ("move", "tenant-0"),
        ("move", "tenant-1"),
    ]
    assert (events[0]["state"], events[0]["moved"]) == ("open", 2)
    assert (events[-2]["event"], events[-2]["tenant"], events[-2]["phase"]) == ("move", "tenant-2", "done")
    assert (events[-1]["event"], events[-1]["state"], events[-1]["moved"]) == ("end", "done", 3)


async def test_draining_again_goes_on_with_the_open_run_at_the_new_pace(plane: ControlPlane) -> None:
    ops = plane.staff()
    first = (await ops.post("/admin/servers/alpha/drain", json={})).json()
    again = (await ops.post("/admin/servers/alpha/drain", json={"at_once": 3, "allow_freeze": True})).json()
    assert (again["id"], again["at_once"], again["undo_window_s"]) == (first["id"], 3, 3600)
    assert len(work(plane, first["id"])) == 3
    with transaction(plane.engine) as session:
        assert session.scalars(select(MoveRow.allow_freeze)).all() == [True] * 3


async def test_whoever_was_called_off_is_not_asked_again_before_somebody_wants_it(plane: ControlPlane) -> None:
    ops = plane.staff()
    run = (await ops.post("/admin/servers/alpha/drain", json={"at_once": 20, **NOT_KEPT})).json()
    work(plane, run["id"])
    end(plane, "tenant-0", Phase.CALLED_OFF)
    for slug in ("tenant-1", "tenant-2"):
        end(plane, slug)
    assert work(plane, run["id"]) == []
    found = await details(plane, run["id"])
    assert (found["state"], found["failed"], found["left"]) == ("incomplete", 1, 1)
    assert found["stays"] == [{"tenant": "tenant-0", "reason": "it differs"}]
    again = (await ops.post("/admin/servers/alpha/drain", json={})).json()
    assert again["id"] != run["id"]
    assert work(plane, again["id"]) == ["tenant-0"]


async def test_who_cannot_leave_is_named_before_and_after(plane: ControlPlane) -> None:
    ops = plane.staff()
    with transaction(plane.engine) as session:
        tenants.find(session, "tenant-1").status = str(Status.CLOSING)
        tenants.find(session, "tenant-2").labels = ["on-ssd"]
    told = (await ops.post("/admin/servers/alpha/drain/preview", json={})).json()
    assert [(each["tenant"], each["target"]) for each in told["moves"]] == [("tenant-0", "gamma")]
    reasons = {each["tenant"]: each["reason"] for each in told["stays"]}
    assert reasons["tenant-1"] == "is closing, and only active or suspended tenants are moved"
    assert "gamma: is not labelled ssd" in reasons["tenant-2"]
    assert (await ops.get("/admin/servers/alpha")).json()["status"] == "active"
    run = (await ops.post("/admin/servers/alpha/drain", json=NOT_KEPT)).json()
    assert work(plane, run["id"]) == ["tenant-0"]
    end(plane, "tenant-0")
    work(plane, run["id"])
    found = await details(plane, run["id"])
    assert (found["state"], found["stays"]) == ("incomplete", told["stays"])


async def test_who_is_suspended_is_taken_along_and_stays_so(plane: ControlPlane) -> None:
    ops = plane.staff()
    with transaction(plane.engine) as session:
        tenants.change_status(tenants.find(session, "tenant-1"), Status.SUSPENDED)
    told = (await ops.post("/admin/servers/alpha/drain/preview", json={})).json()
    assert ("tenant-1", "gamma") in {(each["tenant"], each["target"]) for each in told["moves"]}
    run = (await ops.post("/admin/servers/alpha/drain", json={"at_once": 20, **NOT_KEPT})).json()
    assert work(plane, run["id"]) == ["tenant-0", "tenant-1", "tenant-2"]
    assert (await ops.get("/admin/tenants/tenant-1")).json()["status"] == "suspended"
    assert (await ops.get("/admin/tenants/tenant-2")).json()["status"] == "moving"


async def test_what_passes_by_itself_is_waited_for(plane: ControlPlane) -> None:
    run = (await plane.staff().post("/admin/servers/alpha/drain", json={})).json()
    with fleet.holding_fleet(plane.engine, new_id()):
        assert work(plane, run["id"]) == []
        waiting = await details(plane, run["id"])
    assert (waiting["state"], "tenant-0: " in str(waiting["reason"])) == ("open", True)
    assert work(plane, run["id"]) == ["tenant-0", "tenant-1"]


@pytest.mark.parametrize("call_off", [True, False])
async def test_a_drain_that_is_cancelled_begins_no_more_and_calls_off_what_it_is_told_to(
    plane: ControlPlane, call_off: bool
) -> None:
    ops = plane.staff()
    run = (await ops.post("/admin/servers/alpha/drain", json={"at_once": 1})).json()
    assert work(plane, run["id"]) == ["tenant-0"]
    answer = await ops.post("/admin/servers/alpha/drain/cancel", json={"call_off": call_off})
    assert answer.json() == {"tenants": ["tenant-0"] if call_off else []}
    assert (await details(plane, run["id"]))["state"] == "cancelled"
    assert (await ops.get("/admin/servers/alpha")).json()["status"] == "active"
    with transaction(plane.engine) as session:
        assert session.scalars(select(MoveRow.cancel_asked)).all() == [call_off]
    assert work(plane, run["id"]) == ["tenant-0"]
    again = await ops.post("/admin/servers/alpha/drain/cancel", json={})
    assert (again.status_code, again.json()["code"]) == (409, "no_move_run")


async def test_a_server_that_takes_tenants_again_is_drained_no_more(plane: ControlPlane) -> None:
    ops = plane.staff()
    run = (await ops.post("/admin/servers/alpha/drain", json={})).json()
    await ops.put("/admin/servers/alpha/status", json={"status": "active"})
    assert work(plane, run["id"]) == []
    found = await details(plane, run["id"])
    assert (found["state"], found["reason"]) == ("cancelled", "alpha takes tenants again")


async def test_servers_are_evened_out_and_then_left_alone(plane: ControlPlane) -> None:
    ops = plane.staff()
    for name in ("alpha", "gamma"):
        await ops.put(f"/admin/servers/{name}/room", json={"tenants": 4})
    told = (await ops.post("/admin/rebalance/preview", json={})).json()
    assert [(each["tenant"], each["target"]) for each in told["moves"]] == [("tenant-0", "gamma")]
    run = (await ops.post("/admin/rebalance", json={})).json()["run"]
    assert (run["kind"], run["left"]) == ("rebalance", 1)
    assert work(plane, run["id"]) == ["tenant-0"]
    assert (await ops.post("/admin/rebalance", json={})).json()["run"]["id"] == run["id"]
    end(plane, "tenant-0", Phase.KEPT)
    assert work(plane, run["id"]) == []
    assert (await details(plane, run["id"]))["state"] == "done"
    assert (await ops.post("/admin/rebalance", json={})).json() == {"run": None}, "the home that is kept will be gone"
    assert (await ops.post("/admin/rebalance/cancel", json={})).status_code == 409


async def test_servers_are_evened_out_by_what_they_have_to_do(plane: ControlPlane) -> None:
    ops = plane.staff()
    for name in ("alpha", "gamma"):
        await ops.put(f"/admin/servers/{name}/room", json={"tenants": 100, "per_minute": 1000})
    assert (await ops.post("/admin/rebalance/preview", json={})).json()["moves"] == []
    with transaction(plane.engine) as session:
        servers.record_measured(session, "alpha", {"pool_1": Measured(bytes=3, transactions=0)})
        session.execute(text("UPDATE databases SET counted_at = now() - interval '100 minutes'"))
        servers.record_measured(session, "alpha", {"pool_1": Measured(bytes=3, transactions=90_000)})
    assert (await ops.get("/admin/servers/alpha")).json()["per_minute"] == pytest.approx(900, rel=0.01)
    told = (await ops.post("/admin/rebalance/preview", json={})).json()
    assert [(each["tenant"], each["target"], each["reason"]) for each in told["moves"]] == [
        ("tenant-0", "gamma", "alpha is used to 90%, gamma to 1%")
    ]
    run = (await ops.post("/admin/rebalance", json={})).json()["run"]
    work(plane, run["id"])
    end(plane, "tenant-0", Phase.KEPT)
    work(plane, run["id"])
    with transaction(plane.engine) as session:
        session.execute(text("UPDATE moves SET switched_at = now()"))
    assert (await ops.post("/admin/rebalance/preview", json={})).json()["moves"] == [], "it takes along what it does"


async def test_who_is_pinned_to_a_server_that_has_filled_up_stays(plane: ControlPlane) -> None:
    ops = plane.staff()
    for name in ("alpha", "gamma"):
        await ops.put(f"/admin/servers/{name}/room", json={"tenants": 4})
    run = (await ops.post("/admin/rebalance", json={})).json()["run"]
    await ops.put("/admin/servers/gamma/room", json={"tenants": 0})
    assert work(plane, run["id"]) == []
    (stay,) = (await ops.get(f"/admin/move-runs/{run['id']}")).json()["stays"]
    assert (stay["tenant"], "gamma: is full" in stay["reason"]) == ("tenant-0", True)


async def test_support_looks_and_moves_nobody(plane: ControlPlane) -> None:
    support = plane.staff(StaffRole.SUPPORT)
    for path in ("/admin/servers/alpha/drain", "/admin/servers/alpha/drain/cancel", "/admin/rebalance"):
        assert (await support.post(path, json={})).status_code == 403, path
    assert (await support.post("/admin/servers/alpha/drain/preview", json={})).status_code == 200
    for path in (f"/admin/move-runs/{UNKNOWN_ID}", f"/admin/move-runs/{UNKNOWN_ID}/events"):
        assert (await support.get(path)).status_code == 404, path
    assert (await support.post("/admin/servers/nowhere/drain/preview", json={})).status_code == 404
    assert (await support.post("/admin/rebalance/preview", json={"at_once": 0})).status_code == 422
    with transaction(plane.engine) as session:
        assert move_runs.newest(session, 9) == []
