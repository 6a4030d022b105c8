"""Queries on how far workflows are."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from control_plane.registry.tables import ProgressRow

ROOM = 1000
"""Positions from one step to the next: for what is told while a step is waited for."""


def record(session: Session, workflow_id: str, position: int, step: str, duration_ms: int) -> None:
    """One step of a workflow is done; a repeated step overwrites its first try."""
    statement = insert(ProgressRow).values(
        workflow_id=workflow_id, position=position, step=step, duration_ms=duration_ms
    )
    session.execute(
        statement.on_conflict_do_update(
            index_elements=["workflow_id", "position"], set_={"step": step, "duration_ms": duration_ms}
        )
    )


def told(session: Session, workflow_id: str, before: int) -> Sequence[ProgressRow]:
    """What was told while the step at that position was waited for, in order."""
    query = select(ProgressRow).where(
        ProgressRow.workflow_id == workflow_id, ProgressRow.position < before, ProgressRow.position > before - ROOM
    )
    return session.scalars(query.order_by(ProgressRow.position)).all()


def waited_ms(session: Session, workflow_id: str, before: int) -> int:
    """How long it has been waited for; 0 when nothing was told of that."""
    first = func.min(ProgressRow.at)
    query = select(func.extract("epoch", func.clock_timestamp() - first)).where(
        ProgressRow.workflow_id == workflow_id, ProgressRow.position < before, ProgressRow.position > before - ROOM
    )
    return round(1000 * float(session.scalar(query) or 0))


def of_workflow(session: Session, workflow_id: str) -> Sequence[ProgressRow]:
    """The steps done so far, in order."""
    query = select(ProgressRow).where(ProgressRow.workflow_id == workflow_id)
    return session.scalars(query.order_by(ProgressRow.position)).all()
