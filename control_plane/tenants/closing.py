"""Closing a tenant: refused at once, erased when its grace has passed, had back until then.

Each function works inside the caller's transaction and leaves committing to it.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import func
from sqlalchemy.orm import Session

from control_plane import audit
from control_plane.domain.errors import ConflictError, InvalidError
from control_plane.domain.lifecycle import TRANSITIONS, TransitionError
from control_plane.domain.tenant import Status
from control_plane.registry import moves, tenants, workflow_records
from control_plane.registry.tables import TenantRow
from control_plane.registry.workflows import CLOSE, ERASE, REOPEN, Workflows, kind_of
from control_plane.tenants import service

GRACE = timedelta(days=30)
GRACE_MAX = timedelta(days=3650)
AT_ONCE = timedelta(0)
ERASED_AT_ONCE = 20
"""As many are begun with each time somebody looks what is due."""
AGAIN_AFTER = timedelta(minutes=10)
"""An erasing that failed is begun with again."""
_WHY_NOT = {
    Status.PROVISIONING: "is still being made; close it once it is, or once that has failed",
    Status.MOVING: "is being moved; close it once it has arrived",
    Status.CLOSED: "is closed already",
}


class GraceError(InvalidError):
    """A grace is 0 to 3650 days."""

    code = "grace_invalid"


class ErasingError(ConflictError):
    """It is too late: what the tenant has is being erased."""

    code = "tenant_erasing"


def close(
    session: Session, workflows: Workflows, tenant: TenantRow, actor: str, *, grace: timedelta, export: bool
) -> None:
    """Refuse the tenant from now on, and have what it has erased when the grace has passed; without one, at once.

    Closing one anew sets its grace anew. GraceError, TransitionError or ErasingError when it cannot be. Whoever calls
    this has locked the tenant.
    """
    if not AT_ONCE <= grace <= GRACE_MAX:
        raise GraceError
    _refuse_unless_closable(session, tenant, at_once=not grace)
    if Status(tenant.status) is not Status.CLOSING:
        tenant.closing_from, tenant.closing_at = tenant.status, func.now()
    # What kept a failed tenant from being made is what it has to tell again should it be had back.
    tenants.change_status(tenant, Status.CLOSING, failure=tenant.failure)
    tenant.closes_at, tenant.export_first = func.now() + grace, export
    facts = {"grace_s": round(grace.total_seconds()), "export": export}
    audit.record(session, actor, "tenant.close", tenant.slug, tenant_id=tenant.id, **facts)
    service.start(session, workflows, tenant, CLOSE if grace else ERASE, actor)


def reopen(session: Session, workflows: Workflows, tenant: TenantRow, actor: str) -> None:
    """Have a closing tenant back, as what it was. From now on it is not erased any more, and is let in in a moment.

    TransitionError for one that is not closing, ErasingError once its erasing has begun. Whoever calls this has locked
    the tenant.
    """
    if Status(tenant.status) is not Status.CLOSING:
        raise TransitionError(f"a tenant that is {tenant.status} cannot be reopened")
    if is_erasing(tenant):
        raise ErasingError(f"it is too late: what {tenant.slug!r} has is being erased")
    tenant.closes_at = None
    audit.record(session, actor, "tenant.reopen", tenant.slug, tenant_id=tenant.id)
    service.start(session, workflows, tenant, REOPEN, actor)


def erase_due(session: Session, workflows: Workflows, actor: str) -> list[str]:
    """Begin with the erasing of those whose grace has passed, and again of those where it failed; their slugs.

    Of many that look at once, one begins with each.
    """
    due = tenants.due_for_erasing(session, AGAIN_AFTER, ERASED_AT_ONCE)
    for tenant in due:
        audit.record(session, actor, "tenant.erase", tenant.slug, tenant_id=tenant.id)
        service.start(session, workflows, tenant, ERASE, actor)
    return [tenant.slug for tenant in due]


def is_erasing(tenant: TenantRow) -> bool:
    """Whether its erasing has begun and not come to its end."""
    return Status(tenant.status) is Status.CLOSING and kind_of(tenant.workflow_id) == ERASE


def _refuse_unless_closable(session: Session, tenant: TenantRow, *, at_once: bool) -> None:
    status = Status.MOVING if moves.is_on_its_way(session, tenant.id) else Status(tenant.status)
    if status is not Status.CLOSING and Status.CLOSING not in TRANSITIONS[status]:
        raise TransitionError(f"{tenant.slug!r} {_WHY_NOT[status]}", current=status)
    if is_erasing(tenant) and not (at_once and _failed(session, tenant)):
        raise ErasingError(f"what {tenant.slug!r} has is being erased; when that fails, close it again at once")


def _failed(session: Session, tenant: TenantRow) -> bool:
    record = workflow_records.find(session, tenant.workflow_id) if tenant.workflow_id else None
    return record is not None and record.state == workflow_records.FAILED
