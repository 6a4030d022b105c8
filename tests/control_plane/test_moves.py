"""Moving tenants, as staff do it over HTTP."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from control_plane import audit
from control_plane.domain.ids import new_id
from control_plane.domain.server import ServerStatus
from control_plane.domain.tenant import Model, Status
from control_plane.registry import dry_runs, fleet, moves, servers, tenants, workflow_records
from control_plane.registry.engine import transaction
from control_plane.registry.tables import TenantRow
from control_plane.staff.roles import StaffRole
from control_plane.tenants import moving
from tests.control_plane.house import UNKNOWN_ID, ControlPlane, control_plane_of

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
    assert (begun["recipe"], begun["allow_freeze"], begun["expected_stall_s"]) == (None, False, None)
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


async def test_leave_to_copy_under_freeze_is_kept_and_audited(fresh: ControlPlane) -> None:
    tenant = await settled(fresh)
    body = {"model": "silo", "allow_freeze": True}
    answer = await fresh.staff().post(f"/admin/tenants/{tenant.slug}/moves", json=body)
    assert (answer.status_code, answer.json()["allow_freeze"]) == (202, True)
    with transaction(fresh.engine) as session:
        (entry,) = audit.newest(session, limit=1, tenant_id=tenant.id)
        assert entry.facts == {"to": "silo", "server": None, "allow_freeze": True}


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
        ({"model": "silo", "server": "nowhere"}, 422, "server_unknown"),
        ({"model": "pool", "database": "pool_99"}, 422, "database_unknown"),
        ({"model": "silo", "database": "pool_1"}, 422, "database_unknown"),
        ({"model": "pool", "server": "beta", "database": "pool_1"}, 422, "database_unknown"),
        ({"model": "tower"}, 422, "invalid"),
        ({"model": "silo", "undo_window_s": -1}, 422, "invalid"),
        ({"model": "silo", "undo_window_s": 8 * 24 * HOUR_S}, 422, "invalid"),
    ],
)
async def test_what_cannot_be_is_refused(fresh: ControlPlane, body: dict[str, Any], status: int, code: str) -> None:
    tenant = await settled(fresh)
    for path in ("moves", "moves/dry-run"):
        answer = await fresh.staff().post(f"/admin/tenants/{tenant.slug}/{path}", json=body)
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert (await fresh.staff().get(f"/admin/tenants/{tenant.slug}")).json()["status"] == "active"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"model": "pool"}, 409, "not_movable"),
        ({"model": "pool", "database": "pool_1"}, 409, "not_movable"),
        ({"model": "silo", "server": "alpha"}, 503, "no_server"),
    ],
)
async def test_what_there_is_no_place_for_is_refused_and_a_dry_run_tells_why_with_all_else(
    fresh: ControlPlane, body: dict[str, Any], status: int, code: str
) -> None:
    tenant = await settled(fresh)
    answer = await fresh.staff().post(f"/admin/tenants/{tenant.slug}/moves", json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert (await fresh.staff().post(f"/admin/tenants/{tenant.slug}/moves/dry-run", json=body)).status_code == 202


async def test_a_tenant_moves_into_the_pool_of_its_server_that_is_named_while_it_takes_one_more(
    fresh: ControlPlane,
) -> None:
    tenant = await settled(fresh)
    with transaction(fresh.engine) as session:
        for name in ("pool_1", "pool_2"):
            servers.ensure_database(session, "alpha", name, Model.POOL).home_revision = "h0002"
        alpha = servers.server_named(session, "alpha")
        fuller = moving.named_with_room(session, "pool_1", alpha, Model.POOL, {})
        assert fuller.name == "pool_1"

    def tried(full_at: dict[Model, int]) -> tuple[str | None, list[str]]:
        with transaction(fresh.engine) as session:
            row = tenants.get(session, tenant.id)
            found = moving.foresee(session, row, Model.POOL, None, full_at, database="pool_2")
            return found.server.name if found.server is not None else None, found.objections

    assert tried({}) == ("alpha", [])
    assert tried({Model.POOL: 0}) == ("alpha", ["pool_2 takes no more tenants"])
    body = {"model": "pool", "database": "pool_2"}
    answer = await fresh.staff().post(f"/admin/tenants/{tenant.slug}/moves", json=body)
    assert answer.status_code == 202, answer.text
    with transaction(fresh.engine) as session:
        row = moves.open_of(session, tenant.id)
        assert row is not None
        assert (row.server, row.database) == ("alpha", "pool_2")


async def test_a_suspended_tenant_is_moved_and_nothing_else_is_done_to_it_meanwhile(fresh: ControlPlane) -> None:
    tenant = await settled(fresh)
    with transaction(fresh.engine) as session:
        tenants.change_status(tenants.get(session, tenant.id, lock=True), Status.SUSPENDED)
    ops = fresh.staff()
    answer = await ops.post(f"/admin/tenants/{tenant.slug}/moves", json={"model": "silo"})
    assert answer.status_code == 202, answer.text
    assert (await ops.get(f"/admin/tenants/{tenant.slug}")).json()["status"] == "suspended"
    for path, said in (("suspend", "arrives suspended"), ("resume", "arrives suspended"), ("close", "once it has arr")):
        refused = await ops.post(f"/admin/tenants/{tenant.slug}/{path}", json={"confirm": tenant.slug})
        assert (refused.status_code, refused.json()["code"]) == (409, "transition_not_allowed"), refused.text
        assert said in refused.json()["detail"]
    assert (await ops.post(f"/admin/tenants/{tenant.slug}/moves/cancel")).status_code == 202
    assert (await ops.get(f"/admin/tenants/{tenant.slug}")).json()["status"] == "suspended"


async def test_a_tenant_that_is_being_let_in_again_is_not_moved_before_it_is(fresh: ControlPlane) -> None:
    tenant = await settled(fresh)
    with transaction(fresh.engine) as session:
        tenants.change_status(tenants.get(session, tenant.id, lock=True), Status.SUSPENDED)
    ops = fresh.staff()
    assert (await ops.post(f"/admin/tenants/{tenant.slug}/resume")).status_code == 202
    answer = await ops.post(f"/admin/tenants/{tenant.slug}/moves", json={"model": "silo"})
    assert (answer.status_code, answer.json()["code"]) == (409, "not_movable")
    assert "its resume has not come to its end" in answer.json()["detail"]


async def test_who_is_active_is_moved_though_what_has_made_it_so_is_on_record_as_unended(fresh: ControlPlane) -> None:
    tenant = await fresh.active_tenant()
    with transaction(fresh.engine) as session:
        assert workflow_records.get(session, str(tenant.workflow_id)).state in workflow_records.UNENDED
    answer = await fresh.staff().post(f"/admin/tenants/{tenant.slug}/moves", json={"model": "silo"})
    assert answer.status_code == 202, answer.text


async def test_what_would_keep_a_move_from_being_begun_is_known_before(fresh: ControlPlane) -> None:
    """All of it at once, and nothing is changed by asking."""
    tenant = await settled(fresh)

    def asked() -> list[str]:
        with transaction(fresh.engine) as session:
            row = tenants.get(session, tenant.id)
            return moving.foresee(session, row, Model.SILO, None, {}).objections

    assert asked() == []
    with transaction(fresh.engine) as session:
        tenants.change_status(tenants.get(session, tenant.id, lock=True), Status.CLOSING)
    with fleet.holding_fleet(fresh.engine, new_id()):
        for name in ("alpha", "beta"):
            with transaction(fresh.engine) as session:
                servers.set_server_status(session, name, ServerStatus.DRAINING)
        nowhere, closing, held = asked()
    assert "alpha: takes no silo tenants, is draining; beta: is draining" in nowhere
    assert "is closing" in closing
    assert "run over the fleet" in held
    assert asked() == [nowhere, closing]


@pytest.mark.parametrize("verb", ["cancel", "back", "settle"])
async def test_nothing_is_done_to_a_move_that_is_not_there(fresh: ControlPlane, verb: str) -> None:
    tenant = await settled(fresh)
    answer = await fresh.staff().post(f"/admin/tenants/{tenant.slug}/moves/{verb}")
    assert answer.status_code == (409 if verb == "back" else 404)
    assert (await fresh.staff().get(f"/admin/moves/{UNKNOWN_ID}")).status_code == 404


async def test_a_dry_run_is_asked_for_and_does_nothing(fresh: ControlPlane) -> None:
    tenant = await settled(fresh)
    ops = fresh.staff(StaffRole.OPS)
    answer = await ops.post(f"/admin/tenants/{tenant.slug}/moves/dry-run", json={"model": "silo"})
    assert answer.status_code == 202, answer.text
    asked = answer.json()
    assert (asked["state"], asked["foretold"], asked["error"]) == ("requested", None, None)
    assert fresh.workflows()[-1] == "foretell"
    assert answer.headers["Location"] == f"/admin/dry-runs/{asked['id']}"
    told: dict[str, Any] = {"tenant": tenant.slug, "from": "a", "to": "b", "because": "c", "objections": ["d"]}
    told |= {"recipe": "freeze", "note": None, "rows": 1, "bytes": 2, "seconds": 3.0, "stall_ms": 4, "kept_s": 5}
    told |= {"from_moves": 0, "tables": [{"table": "users", "rows": 1, "bytes": 2}]}
    with transaction(fresh.engine) as session:
        dry_runs.told(session, UUID(asked["id"]), told)
        workflow_records.ended(session, asked["workflow_id"])
    known = (await fresh.staff(StaffRole.SUPPORT).get(answer.headers["Location"])).json()
    assert (known["state"], known["foretold"]) == ("done", told)
    assert (await ops.get(f"/admin/tenants/{tenant.slug}/moves")).json()["items"] == []
    assert (await ops.get(f"/admin/tenants/{tenant.slug}")).json()["status"] == "active"
    assert (await ops.get(f"/admin/dry-runs/{UNKNOWN_ID}")).status_code == 404


async def test_dry_runs_are_forgotten_after_a_day(fresh: ControlPlane) -> None:
    tenant = await settled(fresh)
    ops = fresh.staff(StaffRole.OPS)
    first, second = [
        (await ops.post(f"/admin/tenants/{tenant.slug}/moves/dry-run", json={"model": "silo"})).headers["Location"]
        for _ in range(2)
    ]
    with fresh.engine.begin() as connection:
        connection.execute(
            text("UPDATE dry_runs SET created_at = now() - interval '25 hours' WHERE id = :id"),
            {"id": first.rpartition("/")[2]},
        )
    await ops.post(f"/admin/tenants/{tenant.slug}/moves/dry-run", json={"model": "silo"})
    assert [(await ops.get(each)).status_code for each in (first, second)] == [404, 200]


@pytest.mark.slow
@pytest.mark.parametrize(("asked", "kept_s"), [({}, 300), ({"undo_window_s": 7}, 7), ({"undo_window_s": 0}, 0)])
async def test_the_old_home_is_kept_as_the_settings_say_unless_the_move_does(
    fresh: ControlPlane, asked: dict[str, int], kept_s: int
) -> None:
    settings = fresh.parts.settings
    limits = settings.limits.model_copy(update={"undo_window_s": 300})
    parts = replace(fresh.parts, settings=settings.model_copy(update={"limits": limits}))
    plane = control_plane_of(parts)
    tenant = await settled(plane)
    body = {"model": "silo", **asked}
    dry = await plane.staff().post(f"/admin/tenants/{tenant.slug}/moves/dry-run", json=body)
    await plane.staff().post(f"/admin/tenants/{tenant.slug}/moves", json=body)
    with transaction(plane.engine) as session:
        row = moves.open_of(session, tenant.id)
        assert row is not None
        assert (row.undo_window_s, dry_runs.get(session, UUID(dry.json()["id"])).undo_window_s) == (kept_s, kept_s)


async def test_support_sees_moves_and_begins_none(fresh: ControlPlane) -> None:
    tenant = await settled(fresh)
    support = fresh.staff(StaffRole.SUPPORT)
    assert (await support.get(f"/admin/tenants/{tenant.slug}/moves")).status_code == 200
    to_silo = {"model": "silo"}
    asked = [
        ("moves", to_silo),
        ("moves/dry-run", to_silo),
        ("moves/cancel", {}),
        ("moves/back", {}),
        ("moves/settle", {}),
    ]
    for path, body in asked:
        answer = await support.post(f"/admin/tenants/{tenant.slug}/{path}", json=body)
        assert answer.status_code == 403, path
