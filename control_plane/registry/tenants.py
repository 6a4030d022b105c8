"""Queries on tenants, their owners, homes and routes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import func, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from control_plane.domain.errors import UnknownTenantError
from control_plane.domain.ids import new_id, parse_id
from control_plane.domain.lifecycle import set_status
from control_plane.domain.tenant import Model, Plan, Status, Tenant
from control_plane.registry.tables import (
    HomeRow,
    PendingOwnerRow,
    PlanChangeRow,
    RouteRow,
    TargetRow,
    TenantRow,
    WorkflowRow,
)
from control_plane.registry.workflows import ERASE


def as_tenant(row: TenantRow) -> Tenant:
    """The row as a value."""
    return Tenant(
        id=row.id,
        slug=row.slug,
        name=row.name,
        plan=Plan(row.plan),
        model=Model(row.model),
        status=Status(row.status),
        created_at=row.created_at,
        failure=row.failure,
    )


def add(session: Session, row: TenantRow) -> bool:
    """Enter a tenant on the roll; False when its slug is taken. Waits for another transaction that is taking it."""
    values = {column.key: getattr(row, column.key) for column in TenantRow.__table__.columns}
    given = {key: value for key, value in values.items() if value is not None}
    result = session.execute(
        insert(TenantRow).values(given).on_conflict_do_nothing(index_elements=["slug"]).returning(TenantRow.id)
    )
    return result.one_or_none() is not None


def by_slug(session: Session, slug: str, *, lock: bool = False) -> TenantRow | None:
    """The tenant of that slug."""
    query = select(TenantRow).where(TenantRow.slug == slug)
    return session.scalars(query.with_for_update() if lock else query).one_or_none()


def get(session: Session, tenant_id: UUID, *, lock: bool = False) -> TenantRow:
    """The tenant of that id, or UnknownTenantError."""
    query = select(TenantRow).where(TenantRow.id == tenant_id)
    row = session.scalars(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise UnknownTenantError
    return row


def find(session: Session, text: str, *, lock: bool = False) -> TenantRow:
    """The tenant of that slug or id, as people write them; UnknownTenantError when there is none."""
    tenant_id = parse_id(text)
    row = (
        by_slug(session, text, lock=lock)
        if tenant_id is None
        else session.get(TenantRow, tenant_id, with_for_update=lock)
    )
    if row is None:
        raise UnknownTenantError(f"there is no tenant {text!r}")
    return row


def page(session: Session, *, after: UUID | None, limit: int, label: str | None = None) -> Sequence[TenantRow]:
    """Tenants by age, oldest first, from behind `after`; with a label, those that have it."""
    query = select(TenantRow).order_by(TenantRow.id).limit(limit)
    if label:
        query = query.where(TenantRow.labels.contains([label]))
    return session.scalars(query if after is None else query.where(TenantRow.id > after)).all()


def tenants_by_label(session: Session, label: str) -> Sequence[TenantRow]:
    """Every tenant that has the label, whatever its status, oldest first."""
    return search(session, None, None, label)


def search(session: Session, text: str | None, status: Status | None, label: str | None = None) -> Sequence[TenantRow]:
    """Every tenant whose slug or name holds `text`, of that status, with that label, oldest first."""
    query = select(TenantRow).order_by(TenantRow.id)
    if text:
        query = query.where(or_(TenantRow.slug.contains(text), TenantRow.name.icontains(text)))
    if status:
        query = query.where(TenantRow.status == str(status))
    if label:
        query = query.where(TenantRow.labels.contains([label]))
    return session.scalars(query).all()


def change_status(row: TenantRow, wanted: Status, *, failure: str | None = None) -> None:
    """Move a tenant along its life; TransitionError when the table does not allow it."""
    row.status = str(set_status(Status(row.status), wanted))
    row.failure = failure


def record_plan(session: Session, row: TenantRow, plan: Plan, actor: str) -> None:
    """Set the plan and write it into the plan history."""
    row.plan = str(plan)
    session.add(PlanChangeRow(id=new_id(), tenant_id=row.id, plan=str(plan), actor=actor))


def plan_history(session: Session, tenant_id: UUID) -> Sequence[PlanChangeRow]:
    """The plans of a tenant, oldest first."""
    query = select(PlanChangeRow).where(PlanChangeRow.tenant_id == tenant_id)
    return session.scalars(query.order_by(PlanChangeRow.at, PlanChangeRow.id)).all()


def pending_owner(session: Session, tenant_id: UUID) -> PendingOwnerRow | None:
    """The owner who waits for the home to be seeded."""
    return session.get(PendingOwnerRow, tenant_id)


def current_home(session: Session, tenant_id: UUID) -> HomeRow | None:
    """The home that the tenant has or is being given; not one that it is moving into, or has moved out of."""
    query = select(HomeRow).where(HomeRow.tenant_id == tenant_id, HomeRow.state == "current")
    return session.scalars(query).one_or_none()


def ensure_home(
    session: Session, tenant_id: UUID, database_id: UUID, schema: str, model: Model, *, reason: str | None = None
) -> HomeRow:
    """The tenant's home, entered with a route at epoch 1 if there was none."""
    home = current_home(session, tenant_id)
    if home is None:
        home = HomeRow(
            id=new_id(),
            tenant_id=tenant_id,
            database_id=database_id,
            schema=schema,
            model=str(model),
            state="current",
            reason=reason,
        )
        session.add(home)
        session.flush()
        session.add(RouteRow(tenant_id=tenant_id, home_id=home.id, epoch=1))
        session.flush()
    return home


def ensure_target(session: Session, database_id: UUID, schema: str, revision: str | None) -> None:
    """Record the revision seen at a target."""
    statement = insert(TargetRow).values(database_id=database_id, schema=schema, revision=revision)
    session.execute(
        statement.on_conflict_do_update(
            index_elements=["database_id", "schema"], set_={"revision": revision, "checked_at": func.now()}
        )
    )


def due_for_erasing(session: Session, again_after: timedelta, limit: int) -> Sequence[TenantRow]:
    """Closing tenants whose time has come, locked: those whose erasing has not begun, or failed so long ago.

    Those that somebody else has locked are left to them.
    """
    failed = (WorkflowRow.state == "failed") & (WorkflowRow.ended_at < func.now() - again_after)
    query = (
        select(TenantRow)
        .outerjoin(WorkflowRow, WorkflowRow.id == TenantRow.workflow_id)
        .where(
            TenantRow.status == str(Status.CLOSING),
            TenantRow.closes_at <= func.now(),
            or_(WorkflowRow.kind.is_distinct_from(ERASE), failed),
        )
        .order_by(TenantRow.closes_at)
        .limit(limit)
    )
    return session.scalars(query.with_for_update(of=TenantRow, skip_locked=True)).all()


def counts(session: Session) -> dict[tuple[str, str], int]:
    """How many tenants there are by (model, status)."""
    query = select(TenantRow.model, TenantRow.status, func.count()).group_by(TenantRow.model, TenantRow.status)
    return {(model, status): count for model, status, count in session.execute(query)}
