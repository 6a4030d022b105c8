"""Queries on API keys."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from control_plane.domain.errors import NotFoundError
from control_plane.domain.ids import new_id
from control_plane.domain.route import Role
from control_plane.registry.tables import ApiKeyRow


def add(
    session: Session, tenant_id: UUID, *, name: str, role: Role, scopes: Sequence[str], secret_sha256: str
) -> ApiKeyRow:
    """Record a new key."""
    row = ApiKeyRow(
        id=new_id(), tenant_id=tenant_id, name=name, role=str(role), scopes=list(scopes), secret_sha256=secret_sha256
    )
    session.add(row)
    session.flush()
    return row


def of_tenant(session: Session, tenant_id: UUID) -> Sequence[ApiKeyRow]:
    """Every key of a tenant, revoked ones too, oldest first."""
    return session.scalars(select(ApiKeyRow).where(ApiKeyRow.tenant_id == tenant_id).order_by(ApiKeyRow.id)).all()


def revoke(session: Session, key_id: UUID) -> ApiKeyRow:
    """Make a key worthless from now on; repeating it changes nothing. NotFoundError for an unknown one."""
    row = session.get(ApiKeyRow, key_id, with_for_update=True)
    if row is None:
        raise NotFoundError("there is no such key", key_id=str(key_id))
    if row.revoked_at is None:
        row.revoked_at = func.now()
        session.flush()
    return row
