"""Moving tenants, as staff do it over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from control_plane import audit
from control_plane.registry import moves, workflow_records
from control_plane.registry.engine import transaction
from control_plane.registry.tables import TenantRow
from control_plane.staff.roles import StaffRole
from tests.control_plane.house import UNKNOWN_ID, ControlPlane

HOUR_S = 3600


async def settled(plane: ControlPlane) -> TenantRow:
    """An active tenant of whom nothing goes on any more."""
    tenant = await plane.active_tenant()
    assert tenant.workflow_id is not None
    with transaction(plane.engine) as session:
        workflow_records.ended(session, tenant.workflow_id)
    return tenant


async def test_a_move_is_begun_told_and_cancelled(fresh: ControlPlane) -> None:
    tenant = await settled(fresh)
    ops = fresh.staff(StaffRole.OPS)
    answer = await ops.post(f"/admin/tenants/{tenant.slug}/moves", json={"model": "silo", "undo_window_s": HOUR_S})
    assert answer.status_code == 202, answer.text
    begun = answer.json()
    assert (begun["phase"], begun["target"], begun["source"]["model"]) == ("requested", None, "pool")
    assert fresh.workflows()[-1] == "move"
    assert answer.headers["Location"] == f"/admin/moves/{begun['id']}"
    assert (await ops.get(answer.headers["Location"])).json() == begun
    assert (await ops.get(f"/admin/tenants/{tenant.slug}/moves")).json()["items"] == [begun]
    assert (await ops.get(f"/admin/tenants/{tenant.slug}")).json()["status"] == "moving"
    events = await ops.get(f"/admin/workflows/{begun['workflow_id']}")
    assert events.json()["kind"] == "move"
    cancelled = await ops.post(f"/admin/tenants/{tenant.slug}/moves/cancel")
    assert cancelled.status_code == 202
    with transaction(fresh.engine) as session:
        assert [entry.action for entry in audit.newest(session, limit=2, tenant_id=tenant.id)] == [
            "tenant.move_cancel",
            "tenant.move",
        ]
        row = moves.open_of(session, tenant.id)
        assert row is not None
        assert row.cancel_asked


async def test_a_tenant_that_moves_is_not_moved_again_nor_suspended(fresh: ControlPlane) -> None:
    tenant = await settled(fresh)
    ops = fresh.staff()
    await ops.post(f"/admin/tenants/{tenant.slug}/moves", json={"model": "silo"})
    again = await ops.post(f"/admin/tenants/{tenant.slug}/moves", json={"model": "bridge"})
    assert (again.status_code, again.json()["code"]) == (409, "not_movable")
    suspended = await ops.post(f"/admin/tenants/{tenant.slug}/suspend")
    assert (suspended.status_code, suspended.json()["code"]) == (409, "transition_not_allowed")
    assert "cancel the move" in suspended.json()["detail"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"model": "pool"}, 409, "not_movable"),
        ({"model": "silo", "server": "nowhere"}, 422, "server_unknown"),
        ({"model": "silo", "server": "alpha"}, 503, "no_server"),
        ({"model": "tower"}, 422, "invalid"),
        ({"model": "silo", "undo_window_s": -1}, 422, "invalid"),
        ({"model": "silo", "undo_window_s": 8 * 24 * HOUR_S}, 422, "invalid"),
    ],
)
async def test_what_cannot_be_is_refused(fresh: ControlPlane, body: dict[str, Any], status: int, code: str) -> None:
    tenant = await settled(fresh)
    answer = await fresh.staff().post(f"/admin/tenants/{tenant.slug}/moves", json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert (await fresh.staff().get(f"/admin/tenants/{tenant.slug}")).json()["status"] == "active"


@pytest.mark.parametrize("verb", ["cancel", "back", "settle"])
async def test_nothing_is_done_to_a_move_that_is_not_there(fresh: ControlPlane, verb: str) -> None:
    tenant = await settled(fresh)
    answer = await fresh.staff().post(f"/admin/tenants/{tenant.slug}/moves/{verb}")
    assert answer.status_code == (409 if verb == "back" else 404)
    assert (await fresh.staff().get(f"/admin/moves/{UNKNOWN_ID}")).status_code == 404


async def test_support_sees_moves_and_begins_none(fresh: ControlPlane) -> None:
    tenant = await settled(fresh)
    support = fresh.staff(StaffRole.SUPPORT)
    assert (await support.get(f"/admin/tenants/{tenant.slug}/moves")).status_code == 200
    for path, body in [("moves", {"model": "silo"}), ("moves/cancel", {}), ("moves/back", {}), ("moves/settle", {})]:
        answer = await support.post(f"/admin/tenants/{tenant.slug}/{path}", json=body)
        assert answer.status_code == 403, path
