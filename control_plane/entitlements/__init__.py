"""Plans: who may have what. `change_plan` is the one door through which a plan changes; `put_on_plan` is for those who
want all that follows from it: staff, and whoever hears of payments.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from control_plane import audit
from control_plane.domain import plans
from control_plane.domain.errors import ConflictError, CopyholdError
from control_plane.domain.plans import Houses, due
from control_plane.domain.tenant import Model, Plan, Status
from control_plane.registry import tenants
from control_plane.registry.placing import FullAt
from control_plane.registry.tables import TenantRow
from control_plane.registry.workflows import Workflows
from control_plane.settings import Settings
from control_plane.tenants import moving


@dataclass(frozen=True, kw_only=True)
class HousingRules:
    """What the settings say about plans and homes."""

    houses: Houses
    full_at: FullAt
    undo_window: timedelta


def rules_of(settings: Settings) -> HousingRules:
    """Those of a platform."""
    limits = settings.limits
    return HousingRules(houses=settings.plan_models, full_at=limits.full_at, undo_window=limits.undo_window)


@dataclass(frozen=True, kw_only=True)
class PlanOutcome:
    """What came of a change of plan."""

    changed: bool
    """Whether the tenant was on another plan before."""
    model: Model | None = None
    """What the tenant is to be housed as by its plan; None: as it is."""
    server: str | None = None
    """Where there is room for that."""
    move_id: UUID | None = None
    """Of the move that takes it there."""
    objection: str | None = None
    """Why it does not move, in words."""


def change_plan(session: Session, tenant: TenantRow, plan: Plan, actor: str) -> bool:
    """Put the tenant on `plan`, with an entry in its plan history; False when it is on it. Commits with the caller."""
    if Status(tenant.status) in {Status.CLOSING, Status.CLOSED}:
        raise ConflictError("a closed tenant has no plan to change")
    if tenant.plan == plan:
        return False
    audit.record(session, actor, "tenant.plan", tenant.slug, tenant_id=tenant.id, was=tenant.plan, now=str(plan))
    tenants.record_plan(session, tenant, plan, actor)
    return True


def put_on_plan(
    session: Session,
    workflows: Workflows,
    tenant: TenantRow,
    plan: Plan,
    actor: str,
    rules: HousingRules,
    *,
    move: bool | None = None,
) -> PlanOutcome:
    """Change the plan, and begin to move the tenant to what the plan promises; it stays on the plan if that cannot be.

    `move`: by itself a tenant is only given more; with True it is given less as well, with False it stays where it is.
    Whoever calls this has locked the tenant, and commits. Repeating it begins the move that could not be begun.
    """
    changed = change_plan(session, tenant, plan, actor)
    wanted = due(rules.houses, plan, Model(tenant.model), down=bool(move)) if move is not False else None
    if wanted is None:
        return PlanOutcome(changed=changed)
    session.flush()
    server = None
    try:
        with session.begin_nested():
            server = moving.consider(session, tenant, wanted, None, rules.full_at).choice.server.name
            row = moving.request(
                session,
                workflows,
                tenant,
                actor,
                model=wanted,
                undo_window=rules.undo_window,
                full_at=rules.full_at,
            )
    except CopyholdError as error:
        return PlanOutcome(changed=changed, model=wanted, server=server, objection=error.message)
    return PlanOutcome(changed=changed, model=wanted, server=server, move_id=row.id)


def misplaced(tenant: TenantRow, houses: Houses) -> str | None:
    """That a tenant lives in less than its plan promises, and the command that mends it; None while it is moved."""
    if Status(tenant.status) is not Status.ACTIVE:
        return None
    return plans.misplaced(houses, tenant.slug, Plan(tenant.plan), Model(tenant.model))


def foresee_plan(
    session: Session,
    workflows: Workflows,
    tenant: TenantRow,
    plan: Plan,
    actor: str,
    rules: HousingRules,
    *,
    move: bool | None = None,
) -> PlanOutcome:
    """What would come of `put_on_plan` now; nothing of it is kept."""
    trial = session.begin_nested()
    try:
        return put_on_plan(session, workflows, tenant, plan, actor, rules, move=move)
    finally:
        trial.rollback()
