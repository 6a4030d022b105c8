"""HTTP for the platform's own processes: who is alive, and which revisions of the tenant tables each works with."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from fastapi import APIRouter
from sqlalchemy.orm import Session

from control_plane.api.desk import AsSupport
from control_plane.api.errors import problems
from control_plane.api.inputs import Output
from control_plane.registry import processes

router = APIRouter(prefix="/admin/processes", tags=["fleet"])


class ProcessOut(Output):
    """A process that was seen a moment ago."""

    id: UUID
    kind: str
    place: str
    """Host name and process id."""
    code_version: str
    revisions: list[str]
    started_at: datetime
    seen_at: datetime


class ProcessList(Output):
    """Every living process, by kind, oldest first."""

    items: list[ProcessOut]


@router.get("", responses=problems(401, 503))
async def list_processes(desk: AsSupport) -> ProcessList:
    """Processes that are alive; one that was killed is gone from here a few seconds later."""
    return await desk.run(_living)


def _living(session: Session) -> ProcessList:
    return ProcessList(items=[ProcessOut.model_validate(row) for row in processes.living(session)])
