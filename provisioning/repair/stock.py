"""Silos that were made beforehand: giving up one that is of no use any more, and which servers nobody sees to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import delete, exists, select
from sqlalchemy.orm import Session

from control_plane.registry import warm
from control_plane.registry.fleet import Revisions
from control_plane.registry.servers import GOING, WARM
from control_plane.registry.tables import DatabaseRow, HomeRow, TargetRow, WorkflowRow
from control_plane.registry.workflows import REPLENISH


def give_up(session: Session, server: str, name: str, wanted: Revisions) -> bool:
    """Have a warm silo of other revisions than those wanted dropped by whoever sees to the server's next.

    False when it is not one any more. Commits with the caller.
    """
    query = select(DatabaseRow).where(
        DatabaseRow.server == server,
        DatabaseRow.name == name,
        DatabaseRow.state == WARM,
        ~exists().where(HomeRow.database_id == DatabaseRow.id),
    )
    row = session.scalars(query.with_for_update(of=DatabaseRow)).one_or_none()
    if row is None:
        return False
    targets = session.scalars(select(TargetRow.revision).where(TargetRow.database_id == row.id)).all()
    if (row.home_revision, list(targets)) == (wanted.home, [wanted.tenant]):
        return False
    row.state, row.home_revision = GOING, None
    session.execute(delete(TargetRow).where(TargetRow.database_id == row.id))
    return True


def ill_stocked(session: Session, names: Sequence[str]) -> Mapping[str, frozenset[str]]:
    """Servers that have more or fewer warm silos than they are to, and the workflows recorded as seeing to that."""
    query = select(WorkflowRow.subject, WorkflowRow.id).where(
        WorkflowRow.kind == REPLENISH, WorkflowRow.ended_at.is_(None)
    )
    going_on = session.execute(query).all()
    return {
        name: frozenset(workflow_id for subject, workflow_id in going_on if subject == warm.subject_of(name))
        for name in names
        if not warm.stock(session, name).right
    }
