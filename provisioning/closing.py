"""What the steps do by which a tenant is closed, had back, or erased. Every function may be repeated."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import delete, func
from sqlalchemy.orm import Session

from control_plane import audit
from control_plane.domain.errors import ConflictError
from control_plane.domain.server import Server, ServerStatus
from control_plane.domain.tenant import Model, Status
from control_plane.registry import exports, fleet, servers, tenants
from control_plane.registry.engine import transaction
from control_plane.registry.servers import GOING
from control_plane.registry.tables import (
    ApiKeyRow,
    DatabaseRow,
    HomeRow,
    PendingOwnerRow,
    RouteRow,
    TargetRow,
    TenantRow,
)
from control_plane.registry.workflows import REOPEN, kind_of
from control_plane.tenants.closing import is_erasing
from provisioning import erasing, logins
from provisioning.databases import FenceMissingError
from provisioning.estate import Estate
from provisioning.exports.write import write
from provisioning.moves.tidying import give_up
from provisioning.roles import database_exists

ACTOR = exports.LAST
FENCE_OF = {Status.ACTIVE: "open", Status.SUSPENDED: "suspended", Status.FAILED: "ready"}
"""By what a tenant was before it was closed."""


class NotErasedError(ConflictError):
    """The tenant is not to be erased."""

    code = "tenant_not_erased"


@dataclass(frozen=True, kw_only=True)
class _Place:
    home: HomeRow
    database: DatabaseRow
    server: Server

    @property
    def is_lost(self) -> bool:
        """Whether nobody will ever come there again."""
        return self.server.status is ServerStatus.LOST


def close_fence(estate: Estate, tenant_id: UUID) -> None:
    """Have the home itself refuse the tenant, so that an old snapshot cannot revive it; unless it is back by now."""
    with transaction(estate.engine) as session:
        # Locked while the fence is set: of two that change it at once, the roll says which one came last.
        tenant = tenants.get(session, tenant_id, lock=True)
        place = _place(session, tenant_id)
        if Status(tenant.status) is Status.CLOSING and place is not None and not place.is_lost:
            # One that failed may have no fence yet, and one that is half erased has none any more.
            with suppress(FenceMissingError):
                _set_fence(estate, place, tenant_id, "closed")


def let_back(estate: Estate, tenant_id: UUID) -> None:
    """Set the fence as it was, then publish what the tenant was; unless it was closed anew since that was asked for."""
    with transaction(estate.engine) as session:
        tenant = tenants.get(session, tenant_id, lock=True)
        if Status(tenant.status) is not Status.CLOSING or kind_of(tenant.workflow_id) != REOPEN:
            return
        back = Status(tenant.closing_from or Status.ACTIVE)
        place = _place(session, tenant_id)
        if place is not None:
            with suppress(*([FenceMissingError] if back is Status.FAILED else [])):
                _set_fence(estate, place, tenant_id, FENCE_OF[back])
        tenants.change_status(tenant, back, failure=tenant.failure if back is Status.FAILED else None)
        tenant.closing_at = tenant.closes_at = tenant.closing_from = None


def export_last(estate: Estate, tenant_id: UUID) -> None:
    """Write out all that the tenant has, once, unless nobody wants that or it has never had anything."""
    with transaction(estate.engine) as session:
        tenant = _to_be_erased(session, tenant_id)
        if tenant is None or not tenant.export_first or tenant.activated_at is None:
            return
        place = _place(session, tenant_id)
        if place is None or place.is_lost or place.database.state == GOING:
            return
        export_id = (exports.last_before_erasing(session, tenant) or exports.add(session, tenant_id, ACTOR)).id
    write(estate, export_id)


def withdraw(estate: Estate, tenant_id: UUID) -> None:
    """Have nobody look for the home any more: no migration of the fleet, and for a silo no pooler. One that the tenant
    has moved out of, and that is kept, goes at once.

    FleetBusyError while a run over the fleet goes on, which would miss it.
    """
    with transaction(estate.engine) as session:
        tenant = _to_be_erased(session, tenant_id)
    if tenant is not None:
        give_up(estate, tenant_id)
    with transaction(estate.engine) as session:
        tenant = _to_be_erased(session, tenant_id)
        place = _place(session, tenant_id)
        if tenant is None or place is None or place.home.model == Model.POOL:
            return
        fleet.keep_still(session)
        _drop_target(session, place)
        if place.home.model == Model.SILO:
            place.database.state, place.database.home_revision = GOING, None
    if place.home.model == Model.SILO:
        estate.pooler.apply()


def erase_home(estate: Estate, tenant_id: UUID) -> None:
    """Drop the database with its login, or the schema, or delete the rows; then the fence."""
    with transaction(estate.engine) as session:
        tenant = _to_be_erased(session, tenant_id)
        place = _place(session, tenant_id)
    if tenant is None or place is None or place.is_lost:
        return
    database = place.database.name
    if place.home.model == Model.SILO:
        estate.builder(place.server).drop_silo(database)
        return
    if place.home.model == Model.BRIDGE:
        erasing.drop_schema(estate.doors, place.server, database, place.home.schema)
    else:
        erasing.erase_rows(estate.doors, place.server, database, place.home.schema, tenant_id, duty=estate.duty())
    erasing.drop_fence(estate.doors, place.server, database, tenant_id)


def strike_off(estate: Estate, tenant_id: UUID) -> None:
    """Leave of the tenant on the roll what has to stay: that there was one of that slug, and when it was closed."""
    with transaction(estate.engine) as session:
        tenant = _to_be_erased(session, tenant_id)
        if tenant is None:
            return
        place = _place(session, tenant_id)
        for table in (ApiKeyRow, RouteRow, PendingOwnerRow):
            session.execute(delete(table).where(table.tenant_id == tenant_id))
        if place is not None:
            place.home.state = "left"
            if place.home.model == Model.SILO:
                logins.bury(estate, place.database)
        tenants.change_status(tenant, Status.CLOSED)
        tenant.name, tenant.labels = tenant.slug, []
        tenant.wanted_server = tenant.wanted_region = None
        tenant.closed_at = func.now()
        lost = place.server.name if place is not None and place.is_lost else None
        audit.record(session, ACTOR, "tenant.erased", tenant.slug, tenant_id=tenant_id, lost_with=lost)


def not_erased(estate: Estate, tenant_id: UUID, reason: str) -> None:
    """Record why the last export was not written, if that is what the erasing failed at."""
    with transaction(estate.engine) as session:
        tenant = tenants.get(session, tenant_id)
        last = exports.last_before_erasing(session, tenant) if tenant.closing_at is not None else None
        if last is not None:
            exports.failed(session, last.id, reason)


def _to_be_erased(session: Session, tenant_id: UUID) -> TenantRow | None:
    """The tenant, locked; None when it is erased. NotErasedError when it is not to be: nothing else guards its data."""
    tenant = tenants.get(session, tenant_id, lock=True)
    if Status(tenant.status) is Status.CLOSED:
        return None
    if not is_erasing(tenant):
        raise NotErasedError(f"{tenant.slug!r} is not to be erased: it is {tenant.status}")
    return tenant


def _place(session: Session, tenant_id: UUID) -> _Place | None:
    home = tenants.current_home(session, tenant_id)
    if home is None:
        return None
    database = servers.database(session, home.database_id)
    return _Place(home=home, database=database, server=servers.server_named(session, database.server))


def _set_fence(estate: Estate, place: _Place, tenant_id: UUID, state: str) -> None:
    """FenceMissingError also for a database that has not been made, or is dropped already."""
    builder = estate.builder(place.server)
    with builder.admin() as admin:
        if not database_exists(admin, place.database.name):
            raise FenceMissingError
    builder.set_fence(place.database.name, tenant_id, state)


def _drop_target(session: Session, place: _Place) -> None:
    session.execute(
        delete(TargetRow).where(TargetRow.database_id == place.home.database_id, TargetRow.schema == place.home.schema)
    )
