"""HTTP for moving many tenants, off a server or for servers to be used evenly: workers begin a few moves at a time."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse

from control_plane.api.admin import move_run_work as work
from control_plane.api.admin.following import Followed
from control_plane.api.admin.move_run_following import DOCUMENTED, followed
from control_plane.api.admin.move_run_schemas import (
    CalledOff,
    Ending,
    MoveRunDetails,
    MoveRunList,
    MoveRunOut,
    NewPace,
    NewRebalance,
    OutlookOut,
    Rebalancing,
)
from control_plane.api.desk import AsOps, AsSupport
from control_plane.api.errors import problems
from control_plane.api.inputs import PathId, ServerName

router = APIRouter(prefix="/admin", tags=["moves"])


@router.post("/servers/{name}/drain", status_code=202, responses=problems(401, 403, 404, 409, 413, 422, 503))
async def drain_server(name: ServerName, body: NewPace, desk: AsOps, response: Response) -> MoveRunOut:
    """Put no new tenants on a server, and begin to move everybody away; repeating it goes on with the open run."""
    run = await desk.run(work.drain, name, body, desk)
    response.headers["Location"] = f"/admin/move-runs/{run.id}"
    return run


@router.post("/servers/{name}/drain/preview", responses=problems(401, 403, 404, 413, 422, 503))
async def preview_drain(name: ServerName, body: NewPace, desk: AsSupport) -> OutlookOut:
    """Who would go where if that server were drained now, and who nowhere; nothing is changed."""
    return await desk.run(work.preview_drain, name, body, desk)


@router.post("/servers/{name}/drain/cancel", responses=problems(401, 403, 404, 409, 413, 422, 503))
async def cancel_drain(name: ServerName, body: Ending, desk: AsOps) -> CalledOff:
    """Have a server that is drained take tenants again; who has moved away stays there."""
    return await desk.run(work.cancel_drain, name, body, desk)


@router.post("/rebalance", status_code=202, responses=problems(401, 403, 409, 413, 422, 503))
async def rebalance(body: NewRebalance, desk: AsOps) -> Rebalancing:
    """Begin to move some tenants for servers to be used evenly: as few as do, and by what was measured last."""
    return await desk.run(work.rebalance, body, desk)


@router.post("/rebalance/preview", responses=problems(401, 403, 413, 422, 503))
async def preview_rebalance(body: NewRebalance, desk: AsSupport) -> OutlookOut:
    """Who would move for servers to be used evenly; nothing is changed."""
    return await desk.run(work.preview_rebalance, body, desk)


@router.post("/rebalance/cancel", responses=problems(401, 403, 409, 413, 422, 503))
async def cancel_rebalance(body: Ending, desk: AsOps) -> CalledOff:
    """Begin no more moves of the open rebalance."""
    return await desk.run(work.cancel_rebalance, body, desk)


@router.get("/move-runs", responses=problems(401, 503))
async def list_move_runs(desk: AsSupport) -> MoveRunList:
    """The newest runs of many moves, newest first."""
    return await desk.run(work.newest)


@router.get("/move-runs/{run_id}", responses=problems(401, 404, 503))
async def get_move_run(run_id: PathId, desk: AsSupport) -> MoveRunDetails:
    """How far a run is, with its moves."""
    return await desk.run(work.details, run_id)


@router.get(
    "/move-runs/{run_id}/events",
    response_class=StreamingResponse,
    responses={**problems(401, 404, 503), 200: DOCUMENTED},
)
async def follow_move_run(run_id: PathId, desk: AsSupport) -> Followed:
    """A run as it goes: each of its moves as it is now, then whenever it has changed."""
    return await followed(desk, run_id)
