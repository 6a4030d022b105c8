"""Changing the login of a tenant's database, as staff ask for it."""

from __future__ import annotations

from control_plane.staff.roles import StaffRole
from tests.control_plane.house import ControlPlane


async def test_a_login_that_others_share_changes_only_when_that_is_meant(fresh: ControlPlane) -> None:
    await fresh.active_tenant("acme")
    await fresh.active_tenant("globex")
    ops = fresh.staff(StaffRole.OPS)
    refused = await ops.post("/admin/tenants/acme/rotate")
    assert (refused.status_code, refused.json()["code"]) == (409, "login_shared")
    assert "with 1 other tenant, and theirs changes too" in refused.json()["detail"]
    started = await ops.post("/admin/tenants/acme/rotate", params={"shared": True})
    assert (started.status_code, started.json()["kind"], started.json()["state"]) == (202, "rotate", "requested")
    assert started.headers["location"] == f"/admin/workflows/{started.json()['id']}"
    again = await ops.post("/admin/tenants/globex/rotate", params={"shared": True})
    assert (again.status_code, again.json()["code"]) == (409, "not_rotatable")
    assert fresh.workflows() == ["provision", "provision", "rotate"]


async def test_support_may_not_change_logins(fresh: ControlPlane) -> None:
    await fresh.active_tenant("acme")
    assert (await fresh.staff(StaffRole.SUPPORT).post("/admin/tenants/acme/rotate")).status_code == 403


async def test_a_tenant_without_a_home_has_no_login_to_change(fresh: ControlPlane) -> None:
    ops = fresh.staff(StaffRole.OPS)
    wish = {"name": "Acme", "slug": "acme", "plan": "starter", "model": "pool"}
    assert (await ops.post("/admin/tenants", json=wish)).status_code == 202
    refused = await ops.post("/admin/tenants/acme/rotate")
    assert (refused.status_code, refused.json()["code"]) == (409, "not_rotatable")
