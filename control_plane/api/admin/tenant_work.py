"""What staff do to tenants and see of them, each in one transaction: found by slug or id, shown as JSON shows them."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy.orm import Session

from control_plane import entitlements
from control_plane.api.admin import workflow_work
from control_plane.api.admin.schemas import (
    HomeOut,
    HomePage,
    KeyList,
    KeyOut,
    KeyWithSecret,
    ListedTenant,
    NewKey,
    NewPlan,
    NewTenant,
    PlanChange,
    PlannedTenant,
    TenantDetails,
    TenantPage,
    WorkflowOut,
)
from control_plane.api.desk import Desk
from control_plane.domain.plans import Houses
from control_plane.entitlements import PlanOutcome
from control_plane.registry import keys, reports, tenants
from control_plane.registry.reports import HomeReport
from control_plane.registry.tables import TenantRow
from control_plane.registry.workflows import Workflows
from control_plane.signup.service import chosen_slug
from control_plane.tenants import rotating, service
from control_plane.tenants.labels import checked_label, set_labels
from control_plane.tenants.service import OwnerWish, TenantWish


def page(session: Session, *, after: UUID | None, limit: int, label: str | None) -> TenantPage:
    """Some tenants, oldest first, of all or of those with a label; LabelError when that is none."""
    rows = tenants.page(
        session, after=after, limit=limit + 1, label=checked_label(label) if label is not None else None
    )
    items = [ListedTenant.model_validate(row) for row in rows[:limit]]
    return TenantPage(items=items, next=items[-1].id if len(rows) > limit else None)


def details(session: Session, ref: str, houses: Houses) -> TenantDetails:
    """All that the control plane knows of one tenant."""
    row = tenants.find(session, ref)
    homes = reports.homes(session, after=None, limit=1, tenant_id=row.id)
    return TenantDetails(
        **ListedTenant.model_validate(row).model_dump(),
        activated_at=row.activated_at,
        closes_at=row.closes_at,
        closed_at=row.closed_at,
        wanted_server=row.wanted_server,
        wanted_region=row.wanted_region,
        home=_home(homes[0]) if homes else None,
        misplaced=entitlements.misplaced(row, houses),
        keys=sum(key.revoked_at is None for key in keys.of_tenant(session, row.id)),
        plan_history=[PlanChange.model_validate(change) for change in tenants.plan_history(session, row.id)],
        workflow=workflow_work.newest(session, row),
    )


def onboard(session: Session, workflows: Workflows, new: NewTenant, actor: str) -> ListedTenant:
    """A tenant made for a customer; the same wish again goes on with one that is not ready."""
    owner = OwnerWish(email=new.owner_email, name=new.owner_email.partition("@")[0]) if new.owner_email else None
    wish = TenantWish(
        slug=chosen_slug(new.slug, new.name),
        name=new.name,
        plan=new.plan,
        model=new.model,
        server=new.server,
        region=new.region,
        owner=owner,
        labels=tuple(new.labels),
    )
    return _listed(session, service.create(session, workflows, wish, actor))


def put_on_plan(session: Session, ref: str, body: NewPlan, desk: Desk) -> PlannedTenant:
    """The tenant on that plan, and what follows from it."""
    row, rules = tenants.find(session, ref, lock=True), entitlements.rules_of(desk.control.settings)
    found = entitlements.put_on_plan(session, desk.workflows, row, body.plan, desk.actor, rules, move=body.move)
    return _planned(session, row, found)


def preview_plan(session: Session, ref: str, body: NewPlan, desk: Desk) -> PlannedTenant:
    """The tenant as it is, and what would follow from that plan."""
    row, rules = tenants.find(session, ref, lock=True), entitlements.rules_of(desk.control.settings)
    found = entitlements.foresee_plan(session, desk.workflows, row, body.plan, desk.actor, rules, move=body.move)
    return _planned(session, row, found)


def put_labels(session: Session, ref: str, labels: Sequence[str], actor: str) -> ListedTenant:
    """The tenant with those labels and no others."""
    row = tenants.find(session, ref, lock=True)
    set_labels(session, row, labels, actor)
    return _listed(session, row)


def suspend(session: Session, workflows: Workflows, ref: str, actor: str) -> ListedTenant:
    """The tenant, refused from now on."""
    row = tenants.find(session, ref, lock=True)
    service.suspend(session, workflows, row, actor)
    return _listed(session, row)


def resume(session: Session, workflows: Workflows, ref: str, actor: str) -> ListedTenant:
    """The tenant, which will be let in again."""
    row = tenants.find(session, ref, lock=True)
    service.resume(session, workflows, row, actor)
    return _listed(session, row)


def rotate(session: Session, workflows: Workflows, ref: str, actor: str, *, shared: bool) -> WorkflowOut:
    """The workflow that changes the login of the tenant's database."""
    row = tenants.find(session, ref, lock=True)
    return workflow_work.details(session, rotating.rotate(session, workflows, row, actor, shared=shared))


def list_keys(session: Session, ref: str) -> KeyList:
    """Every key of the tenant, without its secret."""
    row = tenants.find(session, ref)
    return KeyList(items=[KeyOut.model_validate(key) for key in keys.of_tenant(session, row.id)])


def create_key(session: Session, ref: str, new: NewKey, actor: str) -> KeyWithSecret:
    """A new key with its text."""
    row = tenants.find(session, ref)
    key, text = service.create_key(session, row, name=new.name, role=new.role, scopes=new.scopes, actor=actor)
    return KeyWithSecret(**KeyOut.model_validate(key).model_dump(), key=text)


def revoke_key(session: Session, key_id: UUID, actor: str) -> None:
    """Make a key worthless."""
    service.revoke_key(session, key_id, actor)


def homes(session: Session, *, after: UUID | None, limit: int) -> HomePage:
    """Some homes, oldest first."""
    found = reports.homes(session, after=after, limit=limit + 1)
    return HomePage(
        items=[_home(report) for report in found[:limit]], next=found[limit - 1].home.id if len(found) > limit else None
    )


def _planned(session: Session, row: TenantRow, found: PlanOutcome) -> PlannedTenant:
    return PlannedTenant(
        **_listed(session, row).model_dump(),
        moves_to=found.model,
        server=found.server,
        move_id=found.move_id,
        not_moved=found.objection,
    )


def _listed(session: Session, row: TenantRow) -> ListedTenant:
    session.flush()
    return ListedTenant.model_validate(row)


def _home(report: HomeReport) -> HomeOut:
    return HomeOut(
        tenant_id=report.home.tenant_id,
        slug=report.slug,
        model=report.home.model,
        server=report.server,
        database=report.database,
        db_schema=report.home.schema,
        state=report.home.state,
        epoch=report.epoch,
        revision=report.revision,
        reason=report.home.reason,
        created_at=report.home.created_at,
    )
