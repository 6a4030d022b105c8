"""Who lives where on which servers, read at once as plans of many moves need it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from control_plane.domain.moving import ENDED, MOVABLE, Phase
from control_plane.domain.placement import APART_RULE
from control_plane.domain.relocation import UNBOUNDED, Held, Housing, Resident
from control_plane.domain.server import Server
from control_plane.domain.tenant import Model, Plan, Status
from control_plane.registry import servers
from control_plane.registry.moves import CURRENT, FILLING, KEPT, LEFT
from control_plane.registry.placing import FullAt
from control_plane.registry.servers import BUILDING, GOING, GONE, READY
from control_plane.registry.tables import DatabaseRow, HomeRow, MoveRow, TenantRow, WorkflowRow
from control_plane.registry.workflow_records import UNENDED


@dataclass(frozen=True)
class _Lived:
    """A home that is not left, with whose it is and where."""

    home: HomeRow
    tenant: TenantRow
    database: DatabaseRow


def read(session: Session, full_at: FullAt, *, settled: bool = False) -> Housing:
    """All of it as it is now, or `settled`: as it will be when open moves have ended, and no home is kept any more."""
    lived = _lived(session)
    sizes = Counter(each.database.id for each in lived)
    share = {each.database.id: _share(each.database, sizes[each.database.id]) for each in lived}
    arriving = {each.tenant.id for each in lived if each.home.state == FILLING}
    bytes_freed: Counter[str] = Counter()
    calmed: Counter[str] = Counter()
    counted = []
    for each in lived:
        if settled and (each.home.state == KEPT or _leaves(each, arriving)):
            bytes_freed[each.database.server] += share[each.database.id].bytes
            calmed[each.database.server] += share[each.database.id].per_minute
        else:
            counted.append(each)
    if settled:
        calmed.subtract(_brought(session, lived, share))
    known = [_less(each, bytes_freed[each.name], calmed[each.name]) for each in servers.all_servers(session)]
    stays_at = FILLING if settled else CURRENT
    at = {each.tenant.id: each.database for each in lived if each.home.state == CURRENT}
    at |= {each.tenant.id: each.database for each in lived if each.home.state == stays_at}
    obstacles = _obstacles(session)
    return Housing(
        servers=known,
        held=_held(session, counted, full_at),
        residents=[
            _resident(each, at[each.tenant.id], share[each.database.id], obstacles.get(each.tenant.id))
            for each in lived
            if each.home.state == CURRENT
        ],
        full_at=full_at,
    )


@dataclass(frozen=True)
class _Share:
    """What one tenant has of a database, as far as is known: all have the same."""

    bytes: int
    per_minute: int


def _share(database: DatabaseRow, homes: int) -> _Share:
    return _Share((database.used_bytes or 0) // homes, (database.per_minute or 0) // homes)


def _brought(session: Session, lived: Iterable[_Lived], share: Mapping[UUID, _Share]) -> Counter[str]:
    """By server, the transactions of those on their way there, and of those who came after they were counted there."""
    kept = select(MoveRow.tenant_id, MoveRow.switched_at).where(MoveRow.phase == Phase.KEPT)
    came_at = {tenant_id: at for tenant_id, at in session.execute(kept) if at is not None}
    had = {(each.tenant.id, each.home.state): share[each.database.id].per_minute for each in lived}
    brought: Counter[str] = Counter()
    for each in lived:
        came, counted_at = came_at.get(each.tenant.id), each.database.counted_at
        if each.home.state == FILLING:
            brought[each.database.server] += had.get((each.tenant.id, CURRENT), 0)
        elif each.home.state == CURRENT and came is not None and (counted_at is None or counted_at < came):
            brought[each.database.server] += had.get((each.tenant.id, KEPT), 0)
    return brought


def _less(server: Server, size: int, per_minute: int) -> Server:
    return replace(
        server,
        used_bytes=max(0, server.used_bytes - size) if server.used_bytes else server.used_bytes,
        per_minute=max(0, (server.per_minute or 0) - per_minute),
    )


def _lived(session: Session) -> list[_Lived]:
    query = (
        select(HomeRow, TenantRow, DatabaseRow)
        .join(TenantRow, TenantRow.id == HomeRow.tenant_id)
        .join(DatabaseRow, DatabaseRow.id == HomeRow.database_id)
        .where(HomeRow.state != LEFT)
        .execution_options(populate_existing=True)
    )
    return [_Lived(*row) for row in session.execute(query)]


def _leaves(lived: _Lived, arriving: set[UUID]) -> bool:
    return lived.home.state == CURRENT and lived.tenant.id in arriving


def _held(session: Session, lived: Iterable[_Lived], full_at: FullAt) -> dict[str, Held]:
    homes = Counter(each.database.id for each in lived)
    tenants: Counter[str] = Counter()
    labels: dict[str, Counter[str]] = {}
    for each in lived:
        tenants[each.database.server] += 1
        apart = labels.setdefault(each.database.server, Counter())
        apart.update(label for label in each.tenant.labels if label.startswith(APART_RULE))
    databases: Counter[str] = Counter()
    places: dict[str, Counter[Model]] = {}
    for row in session.scalars(select(DatabaseRow).where(DatabaseRow.state.not_in((GOING, GONE)))):
        model = Model(row.model)
        databases[row.server] += model is not Model.SILO or homes[row.id] > 0
        usable = row.state == BUILDING or (row.state == READY and row.home_revision is not None)
        if model is not Model.SILO and usable:
            room = max(0, full_at.get(model, UNBOUNDED) - homes[row.id])
            places.setdefault(row.server, Counter())[model] += room
    return {
        name: Held(
            tenants=tenants[name],
            databases=databases[name],
            places=dict(places.get(name, Counter())),
            labels=dict(labels.get(name, Counter())),
        )
        for name in tenants.keys() | databases.keys()
    }


def _resident(lived: _Lived, at: DatabaseRow, share: _Share, obstacle: tuple[str, bool] | None) -> Resident:
    tenant = lived.tenant
    said, passing = obstacle or _of_status(Status(tenant.status)) or (None, False)
    return Resident(
        id=tenant.id,
        slug=tenant.slug,
        server=at.server,
        model=Model(at.model),
        plan=Plan(tenant.plan),
        labels=tuple(tenant.labels),
        region=tenant.wanted_region,
        bytes=share.bytes,
        per_minute=share.per_minute,
        obstacle=said,
        passing=passing,
    )


def _of_status(status: Status) -> tuple[str, bool] | None:
    if status in MOVABLE:
        return None
    if status is Status.MOVING:
        return "is being moved", True
    return f"is {status}, and only active or suspended tenants are moved", status is Status.PROVISIONING


def _obstacles(session: Session) -> dict[UUID, tuple[str, bool]]:
    """By tenant, what open moves and workflows object, and whether that passes by itself."""
    busy = select(TenantRow.id, WorkflowRow.kind).join(WorkflowRow, WorkflowRow.id == TenantRow.workflow_id)
    found = {
        tenant_id: (f"its {kind} has not come to its end", True)
        for tenant_id, kind in session.execute(busy.where(WorkflowRow.state.in_(UNENDED)))
    }
    for row, slug in session.execute(
        select(MoveRow, TenantRow.slug)
        .join(TenantRow, TenantRow.id == MoveRow.tenant_id)
        .where(MoveRow.phase.not_in(ENDED))
    ):
        if Phase(row.phase) is Phase.KEPT:
            settle = f"copyhold tenant move {slug} --settle --yes"
            found[row.tenant_id] = (f"the home that it has left is kept for a while; {settle} gives it up", False)
        else:
            found[row.tenant_id] = ("is being moved", True)
    return found
