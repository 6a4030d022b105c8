"""HTTP for the audit log."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from sqlalchemy.orm import Session

from control_plane import audit
from control_plane.api.desk import AsSupport
from control_plane.api.errors import problems
from control_plane.api.inputs import PAGE_ROWS, Limit, Output
from control_plane.registry import tenants

router = APIRouter(prefix="/admin", tags=["audit"])

TenantQuery = Annotated[
    str | None, Query(pattern=r"^[0-9A-Za-z-]{1,64}$", description="A tenant's slug or id; all tenants without it.")
]


class AuditEntry(Output):
    """Who did what to whom."""

    id: UUID
    at: datetime
    actor: str
    action: str
    subject: str
    tenant_id: UUID | None
    facts: dict[str, Any]


class AuditLog(Output):
    """The newest entries."""

    items: list[AuditEntry]


@router.get("/audit", responses=problems(401, 404, 422, 503))
async def list_audit(desk: AsSupport, limit: Limit = PAGE_ROWS, tenant: TenantQuery = None) -> AuditLog:
    """The audit log, newest first."""
    return await desk.run(_newest, tenant, limit)


def _newest(session: Session, ref: str | None, limit: int) -> AuditLog:
    tenant_id = tenants.find(session, ref).id if ref is not None else None
    rows = audit.newest(session, limit=limit, tenant_id=tenant_id)
    return AuditLog(items=[AuditEntry.model_validate(row) for row in rows])
