"""Servers, the fleet and the audit log as staff see them."""

from __future__ import annotations

from control_plane.domain.ids import new_id
from control_plane.domain.tenant import Model
from control_plane.registry import fleet, servers
from control_plane.registry.engine import transaction
from control_plane.registry.tables import MigrationRunRow
from control_plane.staff.roles import StaffRole
from tests.control_plane.house import ControlPlane


async def test_servers_are_shown_with_what_they_hold_and_without_their_address(fresh: ControlPlane) -> None:
    await fresh.active_tenant()
    support = fresh.staff(StaffRole.SUPPORT)
    alpha, beta = (await support.get("/admin/servers")).json()["items"]
    assert (alpha["name"], alpha["models"], alpha["tenants"]) == ("alpha", ["pool", "bridge"], 1)
    assert (beta["name"], beta["tenants"], beta["status"]) == ("beta", 0, "active")
    details = (await support.get("/admin/servers/alpha")).json()
    pool = {"name": "pool_1", "model": "pool", "homes": 1, "state": "ready", "home_revision": None}
    assert details == {**alpha, "catalogue": "closed", "databases": [pool]}
    assert "nonexistent" not in str(details)


async def test_a_server_is_drained_and_taken_back(fresh: ControlPlane) -> None:
    ops = fresh.staff(StaffRole.OPS)
    for status in ("draining", "active"):
        answer = await ops.put("/admin/servers/alpha/status", json={"status": status})
        assert (answer.status_code, answer.json()["status"]) == (200, status)
        assert (await ops.get("/admin/servers/alpha")).json()["status"] == status
    assert (await ops.put("/admin/servers/alpha/status", json={"status": "full"})).status_code == 422
    assert (await ops.put("/admin/servers/nowhere/status", json={"status": "active"})).status_code == 404
    log = (await ops.get("/admin/audit")).json()["items"]
    changes = [(entry["subject"], entry["facts"]) for entry in log if entry["action"] == "server.status"]
    assert changes == [("alpha", {"status": "active"}), ("alpha", {"status": "draining"})]


async def test_a_run_is_shown_with_its_failures(fresh: ControlPlane) -> None:
    with transaction(fresh.engine) as session:
        database = servers.ensure_database(session, "alpha", "pool_1", Model.POOL)
        run_id = new_id()
        row = MigrationRunRow(id=run_id, to_revision="0002", actor="ops@example.com", state="running")
        fleet.start_run(session, row)
        states = {"public": "done", "t_1": "failed", "t_2": "done"}
        rows = [
            {
                "run_id": run_id,
                "chain": "tenant",
                "database_id": database.id,
                "schema": schema,
                "from_revision": "0001",
                "to_revision": "0002",
                "state": state,
                "wave": 1,
                "error": "lock timeout" if state == "failed" else None,
            }
            for schema, state in states.items()
        ]
        fleet.plan_targets(session, rows)
        fleet.end_run(session, run_id, "failed")
    support = fresh.staff(StaffRole.SUPPORT)
    (listed,) = (await support.get("/admin/migrations")).json()["items"]
    assert (listed["id"], listed["state"], listed["targets"]) == (str(run_id), "failed", {"done": 2, "failed": 1})
    details = (await support.get(f"/admin/migrations/{run_id}")).json()
    (failed,) = details.pop("failed")
    assert details.pop("waves") == [{"wave": 1, "targets": {"done": 2, "failed": 1}}]
    assert details == listed
    assert (failed["database"], failed["schema"], failed["error"]) == ("pool_1", "t_1", "lock timeout")


async def test_the_fleet_is_counted_by_revision(fresh: ControlPlane) -> None:
    await fresh.active_tenant()
    answer = (await fresh.staff(StaffRole.SUPPORT).get("/admin/fleet")).json()
    assert answer == {
        "home_revision": "h0001",
        "tenant_revision": "0002",
        "targets": [{"model": "pool", "revision": "0002", "targets": 1}],
    }


async def test_the_audit_log_tells_who_did_what_to_one_tenant(fresh: ControlPlane) -> None:
    await fresh.active_tenant("acme")
    await fresh.active_tenant("other")
    ops = fresh.staff(StaffRole.OPS, "olga@example.com")
    await ops.post("/admin/tenants/acme/suspend")
    entries = (await ops.get("/admin/audit?tenant=acme")).json()["items"]
    assert [entry["action"] for entry in entries] == ["tenant.suspend", "tenant.create"]
    assert entries[0]["actor"] == "olga@example.com"
    assert len((await ops.get("/admin/audit?limit=1")).json()["items"]) == 1
