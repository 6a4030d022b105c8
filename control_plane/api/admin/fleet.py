"""HTTP for the fleet: which revisions its targets are at, what runs did to them, and starting, following and stopping
one.
"""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse

from control_plane.api.admin import fleet_work as work
from control_plane.api.admin.fleet_following import DOCUMENTED, followed
from control_plane.api.admin.fleet_schemas import FleetOut, NewRun, RunDetails, RunList, RunOut
from control_plane.api.admin.following import Followed
from control_plane.api.desk import AsOps, AsSupport
from control_plane.api.errors import problems
from control_plane.api.inputs import PAGE_ROWS, Limit, PathId

router = APIRouter(prefix="/admin", tags=["fleet"])


@router.get("/migrations", responses=problems(401, 422, 503))
async def list_migrations(desk: AsSupport, limit: Limit = PAGE_ROWS) -> RunList:
    """Runs, newest first."""
    return await desk.run(work.runs, limit)


@router.post("/migrations", status_code=202, responses=problems(401, 403, 409, 413, 422, 503))
async def start_migration(body: NewRun, desk: AsOps, response: Response) -> RunOut:
    """Have a worker bring the fleet to a revision; what is wrong with the wishes is told by the run's reason."""
    run = await desk.run(work.start, desk.workflows, body, desk.actor)
    response.headers["Location"] = f"/admin/migrations/{run.id}"
    return run


@router.get("/migrations/{run_id}", responses=problems(401, 404, 503))
async def get_migration(run_id: PathId, desk: AsSupport) -> RunDetails:
    """One run, how far each wave is, and why targets failed."""
    return await desk.run(work.details, run_id)


@router.get(
    "/migrations/{run_id}/events",
    response_class=StreamingResponse,
    responses={**problems(401, 404, 503), 200: DOCUMENTED},
)
async def follow_migration(run_id: PathId, desk: AsSupport) -> Followed:
    """A run as it goes: every target that has ended so far, then each as it ends."""
    return await followed(desk, run_id)


@router.post("/migrations/{run_id}/stop", status_code=202, responses=problems(401, 403, 404, 409, 503))
async def stop_migration(run_id: PathId, desk: AsOps) -> RunOut:
    """End a run, whoever started it, when what is in flight has ended; the rest is recorded as not started."""
    return await desk.run(work.stop, run_id, desk.actor)


@router.get("/fleet", responses=problems(401, 503))
async def get_fleet(desk: AsSupport) -> FleetOut:
    """Which revisions the targets are at."""
    return await desk.run(work.whole)
