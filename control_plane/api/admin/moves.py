"""HTTP for moves of tenants: asking for one, following it, cancelling it, having the tenant back."""

from __future__ import annotations

from fastapi import APIRouter, Response

from control_plane.api.admin import move_work as work
from control_plane.api.admin.move_schemas import DryRunOut, MoveList, MoveOut, NewMove
from control_plane.api.desk import AsOps, AsSupport
from control_plane.api.errors import problems
from control_plane.api.inputs import PathId, TenantRef

router = APIRouter(prefix="/admin", tags=["moves"])


@router.post("/tenants/{tenant}/moves", status_code=202, responses=problems(401, 403, 404, 409, 413, 422, 503))
async def move_tenant(tenant: TenantRef, body: NewMove, desk: AsOps, response: Response) -> MoveOut:
    """Begin to move a tenant to another model or server while it works; the events of its workflow tell each step."""
    move = await desk.run(work.begin, desk.workflows, desk.control.settings, tenant, body, desk.actor)
    response.headers["Location"] = f"/admin/moves/{move.id}"
    return move


@router.post("/tenants/{tenant}/moves/dry-run", status_code=202, responses=problems(401, 403, 404, 409, 413, 422, 503))
async def dry_run_move(tenant: TenantRef, body: NewMove, desk: AsOps, response: Response) -> DryRunOut:
    """Have a worker tell what that move would do and take, and what speaks against it; the tenant is left alone."""
    dry_run = await desk.run(work.foretell, desk.workflows, desk.control.settings, tenant, body, desk.actor)
    response.headers["Location"] = f"/admin/dry-runs/{dry_run.id}"
    return dry_run


@router.get("/dry-runs/{dry_run_id}", responses=problems(401, 404, 503))
async def get_dry_run(dry_run_id: PathId, desk: AsSupport) -> DryRunOut:
    """What a worker has found out; it is kept for a day."""
    return await desk.run(work.foretold, dry_run_id)


@router.get("/tenants/{tenant}/moves", responses=problems(401, 404, 503))
async def list_moves(tenant: TenantRef, desk: AsSupport) -> MoveList:
    """A tenant's newest moves, newest first."""
    return await desk.run(work.list_moves, tenant)


@router.get("/moves/{move_id}", responses=problems(401, 404, 503))
async def get_move(move_id: PathId, desk: AsSupport) -> MoveOut:
    """How far a move is."""
    return await desk.run(work.details, move_id)


@router.post("/tenants/{tenant}/moves/cancel", status_code=202, responses=problems(401, 403, 404, 409, 503))
async def cancel_move(tenant: TenantRef, desk: AsOps) -> MoveOut:
    """Have the tenant's move end where it began; refused once it has arrived."""
    return await desk.run(work.cancel, tenant, desk.actor)


@router.post("/tenants/{tenant}/moves/back", status_code=202, responses=problems(401, 403, 404, 409, 503))
async def move_back(tenant: TenantRef, desk: AsOps) -> MoveOut:
    """Begin to have a tenant back in the home that it has left, with all that it has done since."""
    return await desk.run(work.back, desk.workflows, tenant, desk.actor)


@router.post("/tenants/{tenant}/moves/settle", status_code=202, responses=problems(401, 403, 404, 409, 503))
async def settle_move(tenant: TenantRef, desk: AsOps) -> MoveOut:
    """Give up the home that a tenant has left: what it has there is deleted in a moment."""
    return await desk.run(work.settle, tenant, desk.actor)
