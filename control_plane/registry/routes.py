"""Reading the roll as routes: whole, or what has changed since a version."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from sqlalchemy import Select, case, select
from sqlalchemy.orm import Session, aliased

from control_plane.domain.moving import BEFORE_THE_SWITCH, Phase
from control_plane.domain.route import ApiKey, Home, Role, Route
from control_plane.domain.tenant import Model, Plan, Status
from control_plane.registry.tables import (
    ApiKeyRow,
    ChangeRow,
    DatabaseRow,
    FeedRow,
    HomeRow,
    MoveRow,
    RevisionRow,
    RouteRow,
    TargetRow,
    TenantRow,
)


def version(session: Session) -> int:
    """The version of the roll: rises with every committed change of a route."""
    return session.execute(select(FeedRow.version)).scalar_one()


def all_routes(session: Session) -> list[Route]:
    """Every tenant on the roll; three queries."""
    return _read(session, _tenants(), select(ApiKeyRow).where(ApiKeyRow.revoked_at.is_(None)))


def changed_routes(session: Session, since: int) -> list[Route]:
    """The tenants whose route, keys or status changed after `since`."""
    changed = select(ChangeRow.tenant_id).where(ChangeRow.version > since)
    keys = select(ApiKeyRow).where(ApiKeyRow.revoked_at.is_(None), ApiKeyRow.tenant_id.in_(changed))
    return _read(session, _tenants().where(TenantRow.id.in_(changed)), keys)


def route_of(session: Session, tenant_id: UUID) -> Route | None:
    """One tenant's route as it is now, read past every cache."""
    keys = select(ApiKeyRow).where(ApiKeyRow.revoked_at.is_(None), ApiKeyRow.tenant_id == tenant_id)
    routes = _read(session, _tenants().where(TenantRow.id == tenant_id), keys)
    return routes[0] if routes else None


def _tenants() -> Select[*tuple[Any, ...]]:
    there, its_database = aliased(HomeRow), aliased(DatabaseRow)
    next_id = case((MoveRow.phase == str(Phase.FREEZING), MoveRow.target_id), else_=MoveRow.source_id)
    return (
        select(
            TenantRow,
            RouteRow.epoch,
            HomeRow.schema,
            DatabaseRow,
            TargetRow.revision,
            RevisionRow.needs,
            there.schema,
            its_database,
        )
        .outerjoin(RouteRow, RouteRow.tenant_id == TenantRow.id)
        .outerjoin(HomeRow, HomeRow.id == RouteRow.home_id)
        .outerjoin(DatabaseRow, DatabaseRow.id == HomeRow.database_id)
        .outerjoin(TargetRow, (TargetRow.database_id == HomeRow.database_id) & (TargetRow.schema == HomeRow.schema))
        .outerjoin(RevisionRow, RevisionRow.name == TargetRow.revision)
        .outerjoin(MoveRow, (MoveRow.tenant_id == TenantRow.id) & MoveRow.phase.in_(BEFORE_THE_SWITCH))
        .outerjoin(there, there.id == next_id)
        .outerjoin(its_database, its_database.id == there.database_id)
    )


def _read(session: Session, tenants: Select[*tuple[Any, ...]], keys: Select[ApiKeyRow]) -> list[Route]:
    # Tenants before keys: whoever changes in between comes with keys that are too new, never without any.
    found = session.execute(tenants).all()
    keys_of: dict[UUID, list[ApiKey]] = {}
    for row in session.scalars(keys):
        keys_of.setdefault(row.tenant_id, []).append(_key(row))
    return [
        _route(tenant, epoch, _home(schema, database), revision, needs, keys_of.get(tenant.id, ()), _home(*after))
        for tenant, epoch, schema, database, revision, needs, *after in found
    ]


def _route(
    tenant: TenantRow,
    epoch: int | None,
    home: Home | None,
    revision: str | None,
    needs: str | None,
    keys: Iterable[ApiKey],
    next_home: Home | None,
) -> Route:
    return Route(
        tenant_id=tenant.id,
        slug=tenant.slug,
        name=tenant.name,
        plan=Plan(tenant.plan),
        model=Model(tenant.model),
        status=Status(tenant.status),
        epoch=epoch or 0,
        revision=revision,
        needs=needs,
        home=home,
        keys=tuple(keys),
        next_home=next_home,
    )


def _home(schema: str | None, database: DatabaseRow | None) -> Home | None:
    if database is None or schema is None:
        return None
    return Home(
        database_id=database.id,
        alias=database.alias,
        database=database.name,
        login=database.login,
        schema=schema,
        sealed_password=database.sealed_password,
        server=database.server,
    )


def _key(row: ApiKeyRow) -> ApiKey:
    return ApiKey(
        id=row.id,
        name=row.name,
        role=Role(row.role),
        scopes=tuple(row.scopes),
        secret_sha256=row.secret_sha256,
    )
