"""HTTP for tenants, their plans, keys and homes."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from control_plane.api.admin import tenant_work as work
from control_plane.api.admin.schemas import (
    HomePage,
    KeyList,
    KeyWithSecret,
    ListedTenant,
    NewKey,
    NewLabels,
    NewPlan,
    NewTenant,
    PlannedTenant,
    TenantDetails,
    TenantPage,
    WorkflowOut,
)
from control_plane.api.desk import AsOps, AsSupport
from control_plane.api.errors import problems
from control_plane.api.inputs import PAGE_ROWS, After, Limit, PathId, TenantRef

router = APIRouter(prefix="/admin", tags=["tenants"])
Shared = Annotated[bool, Query(description="Even if other tenants live in that database: their login changes too.")]
WithLabel = Annotated[str | None, Query(max_length=63, description="Only those that have it.")]


@router.get("/tenants", responses=problems(401, 422, 503))
async def list_tenants(
    desk: AsSupport, limit: Limit = PAGE_ROWS, after: After = None, label: WithLabel = None
) -> TenantPage:
    """Tenants, oldest first."""
    return await desk.run(work.page, after=after, limit=limit, label=label)


@router.post("/tenants", status_code=202, responses=problems(401, 403, 409, 413, 422, 503))
async def create_tenant(body: NewTenant, desk: AsOps, response: Response) -> ListedTenant:
    """Begin to make a tenant; its details tell how far it is."""
    tenant = await desk.run(work.onboard, desk.workflows, body, desk.actor)
    response.headers["Location"] = f"/admin/tenants/{tenant.slug}"
    return tenant


@router.get("/tenants/{tenant}", responses=problems(401, 404, 503))
async def get_tenant(tenant: TenantRef, desk: AsSupport) -> TenantDetails:
    """All about one tenant."""
    return await desk.run(work.details, tenant, desk.control.settings.plan_models)


@router.put("/tenants/{tenant}/plan", responses=problems(401, 403, 404, 409, 413, 422, 503))
async def put_tenant_plan(tenant: TenantRef, body: NewPlan, desk: AsOps) -> PlannedTenant:
    """Put a tenant on a plan, and begin to move it if the plan promises more than it has."""
    return await desk.run(work.put_on_plan, tenant, body, desk)


@router.post("/tenants/{tenant}/plan/preview", responses=problems(401, 403, 404, 409, 413, 422, 503))
async def preview_tenant_plan(tenant: TenantRef, body: NewPlan, desk: AsOps) -> PlannedTenant:
    """What would come of that plan now; nothing is changed, and `move_id` names no move."""
    return await desk.run(work.preview_plan, tenant, body, desk)


@router.put("/tenants/{tenant}/labels", responses=problems(401, 403, 404, 413, 422, 503))
async def put_tenant_labels(tenant: TenantRef, body: NewLabels, desk: AsOps) -> ListedTenant:
    """Give a tenant these labels and no others."""
    return await desk.run(work.put_labels, tenant, body.labels, desk.actor)


@router.post("/tenants/{tenant}/suspend", status_code=202, responses=problems(401, 403, 404, 409, 503))
async def suspend_tenant(tenant: TenantRef, desk: AsOps) -> ListedTenant:
    """Refuse a tenant everywhere: by route at once, by fence in a moment."""
    return await desk.run(work.suspend, desk.workflows, tenant, desk.actor)


@router.post("/tenants/{tenant}/resume", status_code=202, responses=problems(401, 403, 404, 409, 503))
async def resume_tenant(tenant: TenantRef, desk: AsOps) -> ListedTenant:
    """Begin to let a suspended tenant in again."""
    return await desk.run(work.resume, desk.workflows, tenant, desk.actor)


@router.post("/tenants/{tenant}/rotate", status_code=202, responses=problems(401, 403, 404, 409, 422, 503))
async def rotate_login(tenant: TenantRef, desk: AsOps, response: Response, shared: Shared = False) -> WorkflowOut:
    """Begin to change the login by which the app reaches the tenant's database; nobody notices, the old one dies."""
    workflow = await desk.run(work.rotate, desk.workflows, tenant, desk.actor, shared=shared)
    response.headers["Location"] = f"/admin/workflows/{workflow.id}"
    return workflow


@router.get("/tenants/{tenant}/keys", responses=problems(401, 404, 503))
async def list_keys(tenant: TenantRef, desk: AsSupport) -> KeyList:
    """A tenant's API keys, revoked ones too."""
    return await desk.run(work.list_keys, tenant)


@router.post("/tenants/{tenant}/keys", status_code=201, responses=problems(401, 403, 404, 409, 413, 422, 503))
async def create_key(tenant: TenantRef, body: NewKey, desk: AsOps) -> KeyWithSecret:
    """Make an API key; only this answer ever holds it."""
    return await desk.run(work.create_key, tenant, body, desk.actor)


@router.delete("/keys/{key_id}", status_code=204, responses=problems(401, 403, 404, 503))
async def revoke_key(key_id: PathId, desk: AsOps) -> None:
    """Make an API key worthless; repeating it is fine."""
    await desk.run(work.revoke_key, key_id, desk.actor)


@router.get("/homes", responses=problems(401, 422, 503))
async def list_homes(desk: AsSupport, limit: Limit = PAGE_ROWS, after: After = None) -> HomePage:
    """Where tenants live, oldest homes first."""
    return await desk.run(work.homes, after=after, limit=limit)
