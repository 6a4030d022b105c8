"""HTTP for closing tenants, having them back, and writing out what they have."""

from __future__ import annotations

from fastapi import APIRouter

from control_plane.api.admin import closing_work as work
from control_plane.api.admin.schemas import ExportList, ExportOut, ListedTenant, NewClosing
from control_plane.api.desk import AsAdmin, AsSupport
from control_plane.api.errors import problems
from control_plane.api.inputs import TenantRef

router = APIRouter(prefix="/admin", tags=["tenants"])


@router.post("/tenants/{tenant}/close", status_code=202, responses=problems(401, 403, 404, 409, 413, 422, 503))
async def close_tenant(tenant: TenantRef, body: NewClosing, desk: AsAdmin) -> ListedTenant:
    """Refuse a tenant everywhere from now on, and have what it has erased when its grace has passed."""
    return await desk.run(work.close, desk.workflows, tenant, body, desk.actor)


@router.post("/tenants/{tenant}/reopen", status_code=202, responses=problems(401, 403, 404, 409, 503))
async def reopen_tenant(tenant: TenantRef, desk: AsAdmin) -> ListedTenant:
    """Begin to have a closing tenant back, as it was."""
    return await desk.run(work.reopen, desk.workflows, tenant, desk.actor)


@router.post("/tenants/{tenant}/exports", status_code=202, responses=problems(401, 403, 404, 409, 503))
async def export_tenant(tenant: TenantRef, desk: AsAdmin) -> ExportOut:
    """Begin to write out all that a tenant has, where exports are kept; their list tells when it is done."""
    return await desk.run(work.export, desk.workflows, desk.control.settings, tenant, desk.actor)


@router.get("/tenants/{tenant}/exports", responses=problems(401, 404, 503))
async def list_exports(tenant: TenantRef, desk: AsSupport) -> ExportList:
    """A tenant's newest exports, newest first."""
    return await desk.run(work.list_exports, tenant)
