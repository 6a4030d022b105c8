"""A workflow as a stream: a JSON value a line, for as long as it goes on and somebody reads."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

from control_plane.api.admin import workflow_work as work
from control_plane.api.admin.fleet_following import FOLLOW_S, MEDIA_TYPE, Followed, seated, written
from control_plane.api.admin.fleet_schemas import AgainEvent
from control_plane.api.admin.schemas import StepEvent, WorkflowEndEvent, WorkflowEvent
from control_plane.api.admin.workflow_work import Look
from control_plane.api.desk import Desk
from control_plane.domain.errors import UnavailableError
from control_plane.registry.workflow_records import UNENDED

LOOK_S = 0.25
EVENTS = (WorkflowEvent, StepEvent, WorkflowEndEvent, AgainEvent)
DOCUMENTED = {
    "description": "Events, one a line: the workflow, each step done, then `end`, or `again` after a quarter hour.",
    "content": {MEDIA_TYPE: {"schema": {"oneOf": [event.model_json_schema(mode="serialization") for event in EVENTS]}}},
}


async def followed(desk: Desk, workflow_id: str) -> Followed:
    """The workflow from its first step; NotFoundError for an unknown one, ControlBusyError when too many follow."""
    first = await desk.run(work.look, workflow_id, 0)
    return await seated(desk, _lines(desk, workflow_id, first))


async def _lines(desk: Desk, workflow_id: str, found: Look) -> AsyncIterator[str]:
    clock = asyncio.get_running_loop().time
    until = clock() + FOLLOW_S
    yield written([WorkflowEvent(**found.workflow.model_dump())])
    while True:
        if found.steps:
            yield written([StepEvent(**step.model_dump()) for step in found.steps])
        if found.workflow.state not in UNENDED:
            yield written([WorkflowEndEvent(**found.workflow.model_dump())])
            return
        if clock() > until:
            yield written([AgainEvent()])
            return
        await asyncio.sleep(LOOK_S)
        found = replace(found, steps=[])
        with contextlib.suppress(UnavailableError):
            found = await desk.run(work.look, workflow_id, found.seen)
