"""Which server a piece of work goes to: the workers' queue lets no server have all of a worker's places."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from control_plane.registry.tables import DatabaseRow, ExportRow, HomeRow


def server_of(session: Session, subject: UUID) -> str | None:
    """Where a database is, or the current home of a tenant, or of the tenant of an export; None of anything else."""
    exported = select(ExportRow.tenant_id).where(ExportRow.id == subject).scalar_subquery()
    itself = select(DatabaseRow.server).where(DatabaseRow.id == subject)
    home = (
        select(DatabaseRow.server)
        .join(HomeRow, HomeRow.database_id == DatabaseRow.id)
        .where(HomeRow.state == "current", (HomeRow.tenant_id == subject) | (HomeRow.tenant_id == exported))
    )
    return session.scalars(itself.union_all(home).limit(1)).first()
