"""Queries that read the roll whole, for whoever compares it with what there is."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from control_plane.registry.tables import HomeRow, ProgressRow, RouteRow, TenantRow, WorkflowRow


def homes(session: Session) -> Sequence[tuple[HomeRow, TenantRow, int | None]]:
    """Every home of every tenant, those left included, each with its route's epoch if the route leads there."""
    query = (
        select(HomeRow, TenantRow, RouteRow.epoch)
        .join(TenantRow, TenantRow.id == HomeRow.tenant_id)
        .outerjoin(RouteRow, RouteRow.home_id == HomeRow.id)
        .order_by(HomeRow.id)
    )
    return [(home, tenant, epoch) for home, tenant, epoch in session.execute(query)]


def tenants_in(session: Session, status: str) -> Sequence[TenantRow]:
    """Every tenant of that status, oldest first."""
    return session.scalars(select(TenantRow).where(TenantRow.status == status).order_by(TenantRow.id)).all()


def silent_for(session: Session, status: str, age: timedelta) -> Sequence[tuple[UUID, str, datetime]]:
    """Tenants of that status, by id and slug, whose workflow has done nothing for so long, and since when."""
    last = func.greatest(TenantRow.created_at, func.max(ProgressRow.at))
    query = (
        select(TenantRow.id, TenantRow.slug, last)
        .outerjoin(ProgressRow, ProgressRow.workflow_id == TenantRow.workflow_id)
        .where(TenantRow.status == status)
        .group_by(TenantRow.id)
        .having(last < func.now() - age)
        .order_by(TenantRow.id)
    )
    return [(tenant_id, slug, since) for tenant_id, slug, since in session.execute(query)]


def all_tenants(session: Session) -> Sequence[tuple[TenantRow, timedelta]]:
    """Every tenant, each with how long ago it was made or its newest workflow did something."""
    last = func.greatest(TenantRow.created_at, func.max(ProgressRow.at), func.max(WorkflowRow.started_at))
    query = (
        select(TenantRow, func.clock_timestamp() - last)
        .outerjoin(ProgressRow, ProgressRow.workflow_id == TenantRow.workflow_id)
        .outerjoin(WorkflowRow, WorkflowRow.id == TenantRow.workflow_id)
        .group_by(TenantRow.id)
        .order_by(TenantRow.id)
    )
    return [(tenant, quiet_for) for tenant, quiet_for in session.execute(query)]


def unended_workflows(session: Session, age: timedelta) -> Sequence[str]:
    """Workflows that were started so long ago and are not recorded as ended."""
    query = select(WorkflowRow.id).where(
        WorkflowRow.ended_at.is_(None), WorkflowRow.started_at < func.clock_timestamp() - age
    )
    return session.scalars(query.order_by(WorkflowRow.id)).all()
