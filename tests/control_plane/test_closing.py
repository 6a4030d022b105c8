"""Closing, reopening and exporting tenants, as staff do it over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from control_plane import audit
from control_plane.registry.engine import transaction
from control_plane.staff.roles import StaffRole
from tests.control_plane.house import UNKNOWN_ID, ControlPlane

DAY_S = 24 * 3600
VERBS = ("close", "reopen", "exports")


async def test_a_closed_tenant_is_refused_at_once_and_told_of_until_when_it_can_be_had_back(
    fresh: ControlPlane,
) -> None:
    tenant = await fresh.active_tenant()
    admin = fresh.staff()
    answer = await admin.post(f"/admin/tenants/{tenant.slug}/close", json={"grace_s": DAY_S, "export": False})
    assert (answer.status_code, answer.json()["status"]) == (202, "closing")
    assert fresh.workflows()[-1] == "close"
    details = (await admin.get(f"/admin/tenants/{tenant.slug}")).json()
    closes_at = datetime.fromisoformat(details["closes_at"])
    assert timedelta(hours=23) < closes_at - datetime.now(UTC) <= timedelta(days=1)
    assert details["closed_at"] is None
    assert fresh.tenant(tenant.slug).export_first is False
    with transaction(fresh.engine) as session:
        entry = audit.newest(session, limit=1, tenant_id=tenant.id)[0]
    assert (entry.action, entry.facts) == ("tenant.close", {"grace_s": DAY_S, "export": False})


async def test_a_month_is_the_usual_grace_and_an_export_comes_first(fresh: ControlPlane) -> None:
    tenant = await fresh.active_tenant()
    assert (await fresh.staff().post(f"/admin/tenants/{tenant.id}/close", json={})).status_code == 202
    row = fresh.tenant(tenant.slug)
    assert row.closes_at is not None
    assert row.closing_at is not None
    assert (row.closes_at - row.closing_at, row.export_first) == (timedelta(days=30), True)


async def test_a_closing_tenant_is_had_back_and_an_active_one_is_not(fresh: ControlPlane) -> None:
    tenant = await fresh.active_tenant()
    admin = fresh.staff()
    early = await admin.post(f"/admin/tenants/{tenant.slug}/reopen")
    assert (early.status_code, early.json()["code"]) == (409, "transition_not_allowed")
    await admin.post(f"/admin/tenants/{tenant.slug}/close", json={})
    assert (await admin.post(f"/admin/tenants/{tenant.slug}/reopen")).status_code == 202
    assert fresh.workflows()[-1] == "reopen"
    assert fresh.tenant(tenant.slug).closes_at is None


async def test_a_closing_tenant_cannot_be_suspended_and_so_be_kept_from_being_erased(fresh: ControlPlane) -> None:
    tenant = await fresh.active_tenant()
    admin = fresh.staff()
    await admin.post(f"/admin/tenants/{tenant.slug}/close", json={})
    for verb in ("suspend", "resume"):
        late = await admin.post(f"/admin/tenants/{tenant.slug}/{verb}")
        assert (late.status_code, late.json()["code"]) == (409, "transition_not_allowed")
    row = fresh.tenant(tenant.slug)
    assert (row.status, row.closes_at is not None, fresh.workflows()[-1]) == ("closing", True, "close")


@pytest.mark.parametrize("confirm", [None, "", "another"])
async def test_erasing_at_once_has_to_be_confirmed(fresh: ControlPlane, confirm: str | None) -> None:
    tenant = await fresh.active_tenant()
    admin, address = fresh.staff(), f"/admin/tenants/{tenant.slug}/close"
    answer = await admin.post(address, json={"grace_s": 0, "confirm": confirm})
    assert (answer.status_code, answer.json()["code"]) == (422, "closing_unconfirmed")
    assert fresh.tenant(tenant.slug).status == "active"
    assert (await admin.post(address, json={"grace_s": 0, "confirm": tenant.slug})).status_code == 202
    assert fresh.workflows()[-1] == "erase"
    late = await admin.post(f"/admin/tenants/{tenant.slug}/reopen")
    assert (late.status_code, late.json()["code"]) == (409, "tenant_erasing")


async def test_one_that_is_being_made_is_not_closed(fresh: ControlPlane) -> None:
    admin = fresh.staff()
    made = await admin.post("/admin/tenants", json={"name": "Acme", "slug": "acme", "plan": "starter", "model": "pool"})
    assert made.status_code == 202
    answer = await admin.post("/admin/tenants/acme/close", json={})
    assert answer.status_code == 409
    assert "still being made" in answer.json()["detail"]
    fresh.fail(made.json()["id"])
    assert (await admin.post("/admin/tenants/acme/close", json={})).status_code == 202
    row = fresh.tenant("acme")
    assert (row.closing_from, row.failure) == ("failed", "the disk is full")


@pytest.mark.parametrize(
    "body", [{"grace_s": -1}, {"grace_s": 10**12}, {"grace_s": "soon"}, {"grace": 5}, {"export": "maybe"}, []]
)
async def test_a_bad_body_gets_a_clear_answer_and_changes_nothing(fresh: ControlPlane, body: Any) -> None:
    tenant = await fresh.active_tenant()
    answer = await fresh.staff().post(f"/admin/tenants/{tenant.slug}/close", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    assert fresh.tenant(tenant.slug).status == "active"


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("role", [StaffRole.SUPPORT, StaffRole.OPS])
async def test_only_admins_may(shared: ControlPlane, role: StaffRole, verb: str) -> None:
    tenant = await shared.active_tenant()
    answer = await shared.staff(role).post(f"/admin/tenants/{tenant.slug}/{verb}", json={})
    assert answer.status_code == 403
    assert shared.tenant(tenant.slug).status == "active"


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("ref", ["nobody", UNKNOWN_ID, "a b"])
async def test_an_unknown_tenant_is_not_found(shared: ControlPlane, ref: str, verb: str) -> None:
    assert (await shared.staff().post(f"/admin/tenants/{ref}/{verb}", json={})).status_code == 404


async def test_an_export_is_begun_and_listed(fresh: ControlPlane) -> None:
    tenant = await fresh.active_tenant()
    begun = await fresh.staff().post(f"/admin/tenants/{tenant.slug}/exports")
    assert begun.status_code == 202
    assert fresh.workflows()[-1] == "export"
    export = begun.json()
    assert (export["state"], export["rows"], export["tenant_id"]) == ("requested", None, str(tenant.id))
    assert Path(export["path"]).parent == fresh.parts.settings.export_dir
    listed = await fresh.staff(StaffRole.SUPPORT).get(f"/admin/tenants/{tenant.slug}/exports")
    assert listed.json()["items"] == [export]
