"""Queries for what staff look at: homes, the fleet by revision, single runs, workflows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from control_plane.domain.errors import NotFoundError
from control_plane.domain.server import Server
from control_plane.domain.tenant import Model
from control_plane.registry import fleet, servers
from control_plane.registry.tables import (
    DatabaseRow,
    HomeRow,
    MigrationRunRow,
    MigrationTargetRow,
    RouteRow,
    TargetRow,
    TenantRow,
)


@dataclass(frozen=True, kw_only=True)
class HomeReport:
    """A home with what stands around it."""

    home: HomeRow
    slug: str
    server: str
    database: str
    epoch: int | None
    """None unless the tenant's route leads here."""
    revision: str | None


@dataclass(frozen=True, kw_only=True)
class DatabaseReport:
    """A database that holds tenants, and how many."""

    name: str
    alias: str
    model: Model
    homes: int
    state: str
    home_revision: str | None


def homes(session: Session, *, after: UUID | None, limit: int, tenant_id: UUID | None = None) -> list[HomeReport]:
    """Homes that are lived in or being built, of one tenant or of all, oldest first, from behind `after`."""
    query = (
        select(HomeRow, TenantRow.slug, DatabaseRow.server, DatabaseRow.name, RouteRow.epoch, TargetRow.revision)
        .join(TenantRow, TenantRow.id == HomeRow.tenant_id)
        .join(DatabaseRow, DatabaseRow.id == HomeRow.database_id)
        .outerjoin(RouteRow, RouteRow.home_id == HomeRow.id)
        .outerjoin(TargetRow, (TargetRow.database_id == HomeRow.database_id) & (TargetRow.schema == HomeRow.schema))
        .where(HomeRow.state != "left")
        .order_by(HomeRow.id)
        .limit(limit)
    )
    if after is not None:
        query = query.where(HomeRow.id > after)
    if tenant_id is not None:
        query = query.where(HomeRow.tenant_id == tenant_id, HomeRow.state == "current")
    return [
        HomeReport(home=home, slug=slug, server=server, database=database, epoch=epoch, revision=revision)
        for home, slug, server, database, epoch, revision in session.execute(query)
    ]


def databases_on(session: Session, server: Server) -> list[DatabaseReport]:
    """The databases of a server, by name, with their homes counted."""
    query = select(DatabaseRow).where(DatabaseRow.server == server.name, DatabaseRow.state != servers.GONE)
    rows = session.scalars(query.order_by(DatabaseRow.name)).all()
    counted = servers.homes_in(session, [row.id for row in rows])
    return [
        DatabaseReport(
            name=row.name,
            alias=row.alias,
            model=Model(row.model),
            homes=counted.get(row.id, 0),
            state=row.state,
            home_revision=row.home_revision,
        )
        for row in rows
    ]


def run(session: Session, run_id: UUID) -> tuple[MigrationRunRow, dict[str, int]]:
    """One run with its targets counted by state; NotFoundError when there was none of that id."""
    fleet.close_dead_runs(session)
    row = session.get(MigrationRunRow, run_id)
    if row is None:
        raise NotFoundError("there is no such run", run_id=str(run_id))
    states = select(MigrationTargetRow.state, func.count()).where(MigrationTargetRow.run_id == run_id)
    return row, dict(session.execute(states.group_by(MigrationTargetRow.state)).all())


def targets_by_revision(session: Session) -> Sequence[tuple[str, str | None, int]]:
    """How many targets there are by model and revision."""
    query = (
        select(DatabaseRow.model, TargetRow.revision, func.count())
        .join(TargetRow, TargetRow.database_id == DatabaseRow.id)
        .group_by(DatabaseRow.model, TargetRow.revision)
        .order_by(DatabaseRow.model, TargetRow.revision)
    )
    return session.execute(query).all()
