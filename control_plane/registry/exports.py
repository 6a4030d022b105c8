"""Queries on exports: all of one tenant, written to a folder."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from control_plane.domain.errors import NotFoundError
from control_plane.domain.ids import new_id
from control_plane.registry.tables import ExportRow, TenantRow

REQUESTED, RUNNING, DONE, FAILED, DELETED = "requested", "running", "done", "failed", "deleted"
LAST = "worker"
"""Who asks for the last export, before a tenant is erased; people are named otherwise."""


def add(session: Session, tenant_id: UUID, actor: str) -> ExportRow:
    """Record that an export is wanted."""
    row = ExportRow(id=new_id(), tenant_id=tenant_id, actor=actor, state=REQUESTED)
    session.add(row)
    session.flush()
    return row


def get(session: Session, export_id: UUID, *, lock: bool = False) -> ExportRow:
    """The export of that id, or NotFoundError."""
    row = session.get(ExportRow, export_id, with_for_update=lock)
    if row is None:
        raise NotFoundError("there is no such export")
    return row


def of_tenant(session: Session, tenant_id: UUID, limit: int) -> Sequence[ExportRow]:
    """The newest exports of a tenant, newest first."""
    query = select(ExportRow).where(ExportRow.tenant_id == tenant_id)
    return session.scalars(query.order_by(ExportRow.id.desc()).limit(limit)).all()


def last_before_erasing(session: Session, tenant: TenantRow) -> ExportRow | None:
    """The one that was begun because the tenant is being erased, this time that it is closed."""
    query = select(ExportRow).where(
        ExportRow.tenant_id == tenant.id, ExportRow.actor == LAST, ExportRow.created_at >= tenant.closing_at
    )
    return session.scalars(query.order_by(ExportRow.id).limit(1)).one_or_none()


def done_before(session: Session, age: timedelta) -> Sequence[ExportRow]:
    """Those that were written longer ago than that and are not deleted, oldest first."""
    query = select(ExportRow).where(ExportRow.state == DONE, ExportRow.ended_at < func.now() - age)
    return session.scalars(query.order_by(ExportRow.id)).all()


def failed(session: Session, export_id: UUID, reason: str) -> None:
    """Record why it could not be written; one that is done, or deleted since, stays so."""
    row = get(session, export_id, lock=True)
    if row.state not in (DONE, DELETED):
        row.state, row.error, row.ended_at = FAILED, reason, func.now()
