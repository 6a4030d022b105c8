"""Queries on how far workflows are."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from control_plane.registry.tables import ProgressRow


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


def of_workflow(session: Session, workflow_id: str) -> Sequence[ProgressRow]:
    """The steps done so far, in order."""
    query = select(ProgressRow).where(ProgressRow.workflow_id == workflow_id)
    return session.scalars(query.order_by(ProgressRow.position)).all()
