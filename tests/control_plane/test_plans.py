"""Plans and the homes that go with them, as staff change them over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from control_plane import entitlements
from control_plane.domain.ids import new_id
from control_plane.domain.tenant import Model, Plan
from control_plane.registry import fleet, moves, tenants, workflow_records
from control_plane.registry.engine import transaction
from control_plane.registry.tables import ServerRow
from control_plane.staff.roles import StaffRole
from tests.control_plane.house import ControlPlane

PLAN = "/admin/tenants/acme/plan"


@pytest.fixture
async def plane(fresh: ControlPlane) -> ControlPlane:
    """Acme lives in a pool, on the plan professional."""
    tenant = await fresh.active_tenant("acme")
    with transaction(fresh.engine) as session:
        assert tenant.workflow_id is not None
        workflow_records.ended(session, tenant.workflow_id)
    return fresh


def lives_in(plane: ControlPlane, model: Model) -> None:
    """Acme, as if it had moved."""
    with transaction(plane.engine) as session:
        tenants.find(session, "acme").model = str(model)


async def on(plane: ControlPlane, plan: str, **more: Any) -> dict[str, Any]:
    answer = await plane.staff(StaffRole.OPS).put(PLAN, json={"plan": plan, **more})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_plan_that_promises_more_begins_a_move(plane: ControlPlane) -> None:
    told = (await plane.staff(StaffRole.OPS).post(f"{PLAN}/preview", json={"plan": "enterprise"})).json()
    assert (told["moves_to"], told["server"], told["not_moved"]) == ("silo", "beta", None)
    assert (told["plan"], told["status"]) == ("professional", "active"), "a preview changes nothing"
    with transaction(plane.engine) as session:
        assert moves.open_of(session, plane.tenant("acme").id) is None
    assert plane.workflows() == ["provision"]
    found = await on(plane, "enterprise")
    assert (found["plan"], found["status"], found["moves_to"], found["server"]) == (
        "enterprise",
        "moving",
        "silo",
        "beta",
    )
    assert (await plane.staff().get(f"/admin/moves/{found['move_id']}")).json()["phase"] == "requested"
    assert (await plane.staff().get("/admin/tenants/acme")).json()["misplaced"] is None, "it is on its way"


async def test_a_plan_that_promises_less_moves_nobody_unless_told(plane: ControlPlane) -> None:
    lives_in(plane, Model.SILO)
    found = await on(plane, "starter")
    assert (found["moves_to"], found["status"]) == (None, "active")
    told = (await plane.staff().post(f"{PLAN}/preview", json={"plan": "starter", "move": True})).json()
    assert told["moves_to"] == "pool"


async def test_who_is_not_to_move_stays_and_is_said_to_be_misplaced(plane: ControlPlane) -> None:
    found = await on(plane, "enterprise", move=False)
    assert (found["plan"], found["moves_to"], found["move_id"]) == ("enterprise", None, None)
    details = (await plane.staff().get("/admin/tenants/acme")).json()
    assert details["misplaced"].endswith("it lives in a pool: copyhold tenant move acme --to silo")


async def test_a_plan_stays_when_the_move_cannot_begin_and_the_same_wish_tries_again(plane: ControlPlane) -> None:
    with fleet.holding_fleet(plane.engine, new_id()):
        found = await on(plane, "enterprise")
    assert (found["plan"], found["status"], found["move_id"]) == ("enterprise", "active", None)
    assert found["not_moved"]
    again = await on(plane, "enterprise")
    assert (again["status"], again["not_moved"]) == ("moving", None)
    history = (await plane.staff().get("/admin/tenants/acme")).json()["plan_history"]
    assert [each["plan"] for each in history] == ["professional", "enterprise"]


async def test_the_servers_rules_for_the_new_plan_count(plane: ControlPlane) -> None:
    await plane.staff().put("/admin/servers/beta/labels", json={"labels": ["plan-enterprise"]})
    assert (await on(plane, "enterprise"))["server"] == "beta"


async def test_a_tenant_is_not_kept_apart_from_itself(plane: ControlPlane) -> None:
    await plane.staff().put("/admin/tenants/acme/labels", json={"labels": ["apart-twins"]})
    await plane.staff().put("/admin/servers/beta/status", json={"status": "draining"})
    with transaction(plane.engine) as session:
        session.get_one(ServerRow, "alpha").models = [str(model) for model in Model]
    assert (await on(plane, "enterprise"))["server"] == "alpha"


async def test_what_plans_mean_is_what_the_settings_say(plane: ControlPlane) -> None:
    rules = entitlements.rules_of(plane.parts.settings.model_copy(update={"plan_models": {Plan.STARTER: Model.BRIDGE}}))
    with transaction(plane.engine) as session:
        row = tenants.find(session, "acme", lock=True)
        workflows = plane.parts.workflows
        assert entitlements.put_on_plan(session, workflows, row, Plan.ENTERPRISE, "tests", rules).model is None
        assert entitlements.put_on_plan(session, workflows, row, Plan.STARTER, "tests", rules).model is Model.BRIDGE
