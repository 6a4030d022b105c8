"""Queries on dry runs of moves: asked for over HTTP, answered by a worker, forgotten after a day."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func
from sqlalchemy.orm import Session

from control_plane.domain.errors import NotFoundError
from control_plane.registry.tables import DryRunRow

KEPT_FOR = timedelta(days=1)


def add(session: Session, row: DryRunRow) -> None:
    """Record that one is wanted; those of the day before go."""
    session.execute(delete(DryRunRow).where(DryRunRow.created_at < func.now() - KEPT_FOR))
    session.add(row)
    session.flush()


def get(session: Session, dry_run_id: UUID) -> DryRunRow:
    """The one of that id, or NotFoundError."""
    row = session.get(DryRunRow, dry_run_id)
    if row is None:
        raise NotFoundError("there is no such dry run: they are kept for a day")
    return row


def told(session: Session, dry_run_id: UUID, facts: Mapping[str, Any]) -> None:
    """Record what was found out."""
    get(session, dry_run_id).told = dict(facts)
