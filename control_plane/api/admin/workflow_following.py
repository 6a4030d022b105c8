"""A workflow as a stream of events."""

from __future__ import annotations

from control_plane.api.admin import workflow_work as work
from control_plane.api.admin.following import Followed, documented, lines, seated
from control_plane.api.admin.schemas import StepEvent, WorkflowEndEvent, WorkflowEvent
from control_plane.api.admin.workflow_work import Look
from control_plane.api.desk import Desk
from control_plane.registry.workflow_records import UNENDED

LOOK_S = 0.25
DOCUMENTED = documented(
    "Events, one a line: the workflow, each step done, then `end`, or `again` after a quarter hour.",
    WorkflowEvent,
    StepEvent,
    WorkflowEndEvent,
)


async def followed(desk: Desk, workflow_id: str) -> Followed:
    """The workflow from its first step; NotFoundError for an unknown one, ControlBusyError when too many follow."""
    first = await desk.run(work.look, workflow_id, 0)
    told = lines(
        WorkflowEvent(**first.workflow.model_dump()),
        first,
        again=lambda found: desk.run(work.look, workflow_id, found.seen),
        news=lambda found: [StepEvent(**step.model_dump()) for step in found.steps],
        end=_end,
        every_s=LOOK_S,
    )
    return await seated(desk, told)


def _end(found: Look) -> WorkflowEndEvent | None:
    return WorkflowEndEvent(**found.workflow.model_dump()) if found.workflow.state not in UNENDED else None
