"""Plans: who may have what. `change_plan` is the one door through which a plan changes."""

from __future__ import annotations

from sqlalchemy.orm import Session

from control_plane import audit
from control_plane.domain.errors import ConflictError
from control_plane.domain.tenant import Plan, Status
from control_plane.registry import tenants
from control_plane.registry.tables import TenantRow


def change_plan(session: Session, tenant: TenantRow, plan: Plan, actor: str) -> bool:
    """Put the tenant on `plan`, with an entry in its plan history; False when it is on it. Commits with the caller."""
    if Status(tenant.status) in {Status.CLOSING, Status.CLOSED}:
        raise ConflictError("a closed tenant has no plan to change")
    if tenant.plan == plan:
        return False
    audit.record(session, actor, "tenant.plan", tenant.slug, tenant_id=tenant.id, was=tenant.plan, now=str(plan))
    tenants.record_plan(session, tenant, plan, actor)
    return True
