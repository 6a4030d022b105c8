"""Reading the roll as routes: whole, or what has changed since a version."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, bindparam, case, or_, select
from sqlalchemy.orm import Session, aliased

from control_plane.domain.moving import BEFORE_THE_SWITCH, Phase
from control_plane.domain.route import ApiKey, Home, Role, Route
from control_plane.domain.tenant import Model, Plan, Status
from control_plane.registry.engine import Together, explained
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

_PLACE = 7
"""Columns of a home's place."""
_THERE, _ITS_DATABASE = aliased(HomeRow), aliased(DatabaseRow)


def _place(home: type[HomeRow], database: type[DatabaseRow]) -> tuple[Any, ...]:
    where = database.id, database.alias, database.name, database.login, database.sealed_password, database.server
    return home.schema, *where


_TENANTS = (
    select(
        TenantRow.id,
        TenantRow.slug,
        TenantRow.name,
        TenantRow.plan,
        TenantRow.model,
        TenantRow.status,
        RouteRow.epoch,
        TargetRow.revision,
        RevisionRow.needs,
        *_place(HomeRow, DatabaseRow),
        *_place(_THERE, _ITS_DATABASE),
    )
    .outerjoin(RouteRow, RouteRow.tenant_id == TenantRow.id)
    .outerjoin(HomeRow, HomeRow.id == RouteRow.home_id)
    .outerjoin(DatabaseRow, DatabaseRow.id == HomeRow.database_id)
    .outerjoin(TargetRow, (TargetRow.database_id == HomeRow.database_id) & (TargetRow.schema == HomeRow.schema))
    .outerjoin(RevisionRow, RevisionRow.name == TargetRow.revision)
    .outerjoin(
        MoveRow, (MoveRow.tenant_id == TenantRow.id) & or_(*(MoveRow.phase == str(each) for each in BEFORE_THE_SWITCH))
    )
    .outerjoin(
        _THERE,
        _THERE.id == case((MoveRow.phase == str(Phase.FREEZING), MoveRow.target_id), else_=MoveRow.source_id),
    )
    .outerjoin(_ITS_DATABASE, _ITS_DATABASE.id == _THERE.database_id)
)
_KEYS = select(
    ApiKeyRow.tenant_id, ApiKeyRow.id, ApiKeyRow.name, ApiKeyRow.role, ApiKeyRow.scopes, ApiKeyRow.secret_sha256
).where(ApiKeyRow.revoked_at.is_(None))
_CHANGED = select(ChangeRow.tenant_id).where(ChangeRow.version > bindparam("since"))
# The version first: a change committed in between is then read twice, never missed. Tenants before keys: whoever
# changes in between comes with keys that are too new, never without any.
_NEWS = Together(
    select(FeedRow.version),
    _TENANTS.where(TenantRow.id.in_(_CHANGED)),
    _KEYS.where(ApiKeyRow.tenant_id.in_(_CHANGED)),
)


def version(session: Session) -> int:
    """The version of the roll: rises with every committed change of a route."""
    return session.execute(select(FeedRow.version)).scalar_one()


def all_routes(session: Session) -> list[Route]:
    """Every tenant on the roll; two queries."""
    return _routes(session.execute(_TENANTS).all(), session.execute(_KEYS).all())


def news(engine: Engine, since: int) -> tuple[int, list[Route]]:
    """The roll's version, and the tenants whose route, keys or status changed after `since`.

    In one round trip: requests wait for it while their tenant moves.

    ControlDatabaseError, psycopg.Error.
    """
    with explained(), engine.connect() as connection:
        connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        ((now,),), tenants, keys = _NEWS.send(connection, since=since)
    return now, _routes(tenants, keys)


def route_of(session: Session, tenant_id: UUID) -> Route | None:
    """One tenant's route as it is now, read past every cache."""
    of_it = _TENANTS.where(TenantRow.id == tenant_id), _KEYS.where(ApiKeyRow.tenant_id == tenant_id)
    routes = _routes(*(session.execute(query).all() for query in of_it))
    return routes[0] if routes else None


def _routes(tenants: Iterable[Sequence[Any]], keys: Iterable[Sequence[Any]]) -> list[Route]:
    keys_of: dict[UUID, list[ApiKey]] = {}
    for tenant_id, *key in keys:
        keys_of.setdefault(tenant_id, []).append(_key(*key))
    return [_route(row, keys_of.get(row[0], ())) for row in tenants]


def _route(row: Sequence[Any], keys: Iterable[ApiKey]) -> Route:
    tenant_id, slug, name, plan, model, status, epoch, revision, needs, *places = row
    return Route(
        tenant_id=tenant_id,
        slug=slug,
        name=name,
        plan=Plan(plan),
        model=Model(model),
        status=Status(status),
        epoch=epoch or 0,
        revision=revision,
        needs=needs,
        home=_home(*places[:_PLACE]),
        keys=tuple(keys),
        next_home=_home(*places[_PLACE:]),
    )


def _home(
    schema: str | None, database_id: UUID | None, alias: str, name: str, login: str, sealed: str | None, server: str
) -> Home | None:
    if database_id is None or schema is None:
        return None
    return Home(
        database_id=database_id,
        alias=alias,
        database=name,
        login=login,
        schema=schema,
        sealed_password=sealed,
        server=server,
    )


def _key(key_id: UUID, name: str, role: str, scopes: Iterable[str], secret_sha256: str) -> ApiKey:
    return ApiKey(id=key_id, name=name, role=Role(role), scopes=tuple(scopes), secret_sha256=secret_sha256)
