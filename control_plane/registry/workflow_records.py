"""Workflows on record: which were started, for whom and by whom, and how they ended."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from control_plane.domain.errors import NotFoundError
from control_plane.registry import lanes
from control_plane.registry.tables import WorkflowRow
from control_plane.registry.workflows import ANYWHERE, Workflows, new_workflow_id

REQUESTED, RUNNING, DONE, FAILED = "requested", "running", "done", "failed"
UNENDED = frozenset({REQUESTED, RUNNING})


def start(
    session: Session,
    workflows: Workflows,
    kind: str,
    subject: UUID,
    actor: str,
    *,
    server: str | None = None,
    after_s: float = 0,
) -> str:
    """Record a workflow, and have it start when the caller commits or so many seconds later; its id.

    `server` is where it will work, for a subject that the roll has nowhere yet.
    """
    workflow_id = new_workflow_id(kind, subject)
    session.add(WorkflowRow(id=workflow_id, kind=kind, subject=subject, actor=actor, state=REQUESTED))
    session.flush()
    lane = lanes.server_of(session, subject) or server or ANYWHERE
    workflows.start(session, kind, workflow_id, subject, lane=lane, after_s=after_s)
    return workflow_id


def begun(session: Session, workflow_id: str) -> None:
    """A worker has taken it up, for the first time or again. One that is not on record is no matter."""
    session.execute(
        update(WorkflowRow).where(WorkflowRow.id == workflow_id, WorkflowRow.state == REQUESTED).values(state=RUNNING)
    )


def ended(session: Session, workflow_id: str, error: str | None = None) -> None:
    """It is done, or has failed for the reason given. One that is not on record is no matter."""
    session.execute(
        update(WorkflowRow)
        .where(WorkflowRow.id == workflow_id)
        .values(state=DONE if error is None else FAILED, error=error, ended_at=func.now())
    )


def find(session: Session, workflow_id: str) -> WorkflowRow | None:
    """The record of that id."""
    return session.get(WorkflowRow, workflow_id)


def get(session: Session, workflow_id: str) -> WorkflowRow:
    """The record of that id, or NotFoundError."""
    row = find(session, workflow_id)
    if row is None:
        raise NotFoundError("there is no such workflow")
    return row


def of_subject(session: Session, subject: UUID, limit: int) -> Sequence[WorkflowRow]:
    """What was started for that subject, newest first."""
    query = select(WorkflowRow).where(WorkflowRow.subject == subject)
    return session.scalars(query.order_by(WorkflowRow.started_at.desc(), WorkflowRow.id.desc()).limit(limit)).all()
