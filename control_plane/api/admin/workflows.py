"""HTTP for workflows: what was started, how far it is, how it ended, and going on with what failed."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse

from control_plane.api.admin import workflow_work as work
from control_plane.api.admin.following import Followed
from control_plane.api.admin.schemas import WorkflowOut
from control_plane.api.admin.workflow_following import DOCUMENTED, followed
from control_plane.api.desk import AsOps, AsSupport
from control_plane.api.errors import problems
from control_plane.api.inputs import WorkflowRef

router = APIRouter(prefix="/admin/workflows", tags=["workflows"])


# Ids hold slashes: what ends in a word of its own comes before what takes all of a path for an id.
@router.get(
    "/{workflow_id:path}/events",
    response_class=StreamingResponse,
    responses={**problems(401, 404, 503), 200: DOCUMENTED},
)
async def follow_workflow(workflow_id: WorkflowRef, desk: AsSupport) -> Followed:
    """A workflow as it goes: every step that is done so far, then each as it is done."""
    return await followed(desk, workflow_id)


@router.post("/{workflow_id:path}/retry", status_code=202, responses=problems(401, 403, 404, 409, 503))
async def retry_workflow(workflow_id: WorkflowRef, desk: AsOps, response: Response) -> WorkflowOut:
    """Go on with a workflow that failed, by a new one, which is answered."""
    again = await desk.run(work.retry, desk.workflows, workflow_id, desk.actor)
    response.headers["Location"] = f"/admin/workflows/{again.id}"
    return again


@router.get("/{workflow_id:path}", responses=problems(401, 404, 503))
async def get_workflow(workflow_id: WorkflowRef, desk: AsSupport) -> WorkflowOut:
    """How far a workflow is."""
    return await desk.run(work.details, workflow_id)
