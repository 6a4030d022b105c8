"""Who did what to whom, written in the transaction that did it; nothing here is ever changed or deleted."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from control_plane.domain.ids import new_id
from control_plane.registry.tables import AuditRow


def record(
    session: Session, actor: str, action: str, subject: str, *, tenant_id: UUID | None = None, **facts: object
) -> None:
    """Add one entry. `facts` are small and hold no secret and no tenant content."""
    session.add(
        AuditRow(id=new_id(), actor=actor, action=action, subject=subject, tenant_id=tenant_id, facts=dict(facts))
    )


def newest(session: Session, *, limit: int, tenant_id: UUID | None = None) -> Sequence[AuditRow]:
    """The newest entries, of one tenant or of all."""
    query = select(AuditRow).order_by(AuditRow.id.desc()).limit(limit)
    return session.scalars(query if tenant_id is None else query.where(AuditRow.tenant_id == tenant_id)).all()
