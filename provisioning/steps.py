"""The steps by which a tenant gets its home, is suspended and let in again.

Each step is a plain function that may be repeated after a crash at any point of it, and that learns all it needs from
the roll: it is handed an id and returns nothing. What runs them, in order and durably, is `workflows`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import func
from sqlalchemy.orm import Session

from control_plane import audit
from control_plane.domain import names
from control_plane.domain.placement import choose_server
from control_plane.domain.route import Route
from control_plane.domain.server import Server
from control_plane.domain.tenant import Model, Status
from control_plane.registry import fleet, routes, servers, tenants
from control_plane.registry.engine import transaction
from control_plane.registry.fleet import Revisions
from control_plane.registry.tables import DatabaseRow, HomeRow, TenantRow
from control_plane.registry.workflows import PROVISION, RESUME, SUSPEND, kind_of
from control_plane.routing.refusals import HomeDownError
from control_plane.routing.seam import Owner
from provisioning.databases import Builder
from provisioning.estate import Estate
from provisioning.inside import Inside

ACTOR = "worker"


@dataclass(frozen=True, kw_only=True)
class Tools:
    """What steps work with."""

    estate: Estate
    inside: Inside


Step = Callable[[Tools, UUID], None]


@dataclass(frozen=True, kw_only=True)
class _Place:
    """A tenant's home as provisioning sees it."""

    tenant: TenantRow
    home: HomeRow
    database: DatabaseRow
    server: Server


def choose_home(tools: Tools, tenant_id: UUID) -> None:
    """Pick server and database and enter home and route on the roll, once."""
    with transaction(tools.estate.engine) as session:
        tenant = tenants.get(session, tenant_id, lock=True)
        if tenants.current_home(session, tenant_id) is not None:
            return
        # Locked before it is counted: two that choose at once must not both get the last place.
        known = servers.all_servers(session, lock=True)
        choice = choose_server(
            known,
            servers.tenants_on(session),
            Model(tenant.model),
            named=tenant.wanted_server,
            region=tenant.wanted_region,
        )
        database = _database_for(session, tenant, choice.server)
        bridge = tenant.model == Model.BRIDGE
        schema = names.bridge_schema(tenant_id) if bridge else names.SHARED_SCHEMA
        tenants.ensure_home(session, tenant_id, database.id, schema, Model(tenant.model))
        audit.record(
            session,
            ACTOR,
            "home.choose",
            tenant.slug,
            tenant_id=tenant_id,
            server=choice.server.name,
            database=database.name,
            reason=choice.reason,
        )


def build_home(tools: Tools, tenant_id: UUID) -> None:
    """Make the database or schema with both chains, as far as the model asks for one of its own."""
    place = _place(tools, tenant_id)
    if place.home.model == Model.POOL:
        return
    entered = False
    while not entered:
        with transaction(tools.estate.engine) as session:
            wanted = fleet.wanted(session)
        _build(tools.estate.builder(place.server), place, wanted)
        entered = _enter_target(tools, place, wanted)


def enter_in_pooler(tools: Tools, tenant_id: UUID) -> None:
    """Have the pooler serve the database. A pool's or bridge's has been served since it was made."""
    if _place(tools, tenant_id).home.model == Model.SILO:
        tools.estate.pooler.apply()


def install_key(tools: Tools, tenant_id: UUID) -> None:
    """Give a silo its signing key: its template holds none."""
    place = _place(tools, tenant_id)
    if place.home.model == Model.SILO:
        key = tools.estate.keyring.context_key(place.database.id)
        tools.estate.builder(place.server).install_key(place.database.name, key)


def ready_fence(tools: Tools, tenant_id: UUID) -> None:
    """Put up the fence, not open yet."""
    place = _place(tools, tenant_id)
    route = _route(tools, tenant_id)
    tools.estate.builder(place.server).ensure_fence(place.database.name, tenant_id, route.epoch)


def seed(tools: Tools, tenant_id: UUID) -> None:
    """Have the tenant app write its first data, the owner among them."""
    with transaction(tools.estate.engine) as session:
        row = tenants.pending_owner(session, tenant_id)
    owner = Owner(user_id=row.user_id, email=row.email, name=row.name, password_hash=row.password_hash) if row else None
    tools.inside.seed(_route(tools, tenant_id), owner)


def try_out(tools: Tools, tenant_id: UUID) -> None:
    """The smoke test: into the home through the pooler with a real token."""
    tools.inside.try_out(_route(tools, tenant_id))


def open_fence(tools: Tools, tenant_id: UUID) -> None:
    """From now on the home lets requests in."""
    _set_fence(tools, tenant_id, "open")


def activate(tools: Tools, tenant_id: UUID) -> None:
    """Publish the route. What was kept of the owner for seeding goes."""
    with transaction(tools.estate.engine) as session:
        tenant = tenants.get(session, tenant_id, lock=True)
        if tenant.status == Status.ACTIVE:
            return
        tenants.change_status(tenant, Status.ACTIVE)
        tenant.activated_at = func.now()
        owner = tenants.pending_owner(session, tenant_id)
        if owner is not None:
            session.delete(owner)
        audit.record(session, ACTOR, "tenant.activate", tenant.slug, tenant_id=tenant_id)


def suspend_fence(tools: Tools, tenant_id: UUID) -> None:
    """Have the home itself refuse the tenant, so that an old snapshot cannot revive it; unless it is let in by now."""
    with transaction(tools.estate.engine) as session:
        # Locked while the fence is set: of two that change it at once, the roll says which one came last.
        if tenants.get(session, tenant_id, lock=True).status == Status.SUSPENDED:
            _set_fence(tools, tenant_id, "suspended")


def let_in(tools: Tools, tenant_id: UUID) -> None:
    """Open the fence, then publish that the tenant is active; unless it was suspended anew since that was asked for."""
    with transaction(tools.estate.engine) as session:
        tenant = tenants.get(session, tenant_id, lock=True)
        if tenant.status == Status.SUSPENDED and kind_of(tenant.workflow_id) == RESUME:
            _set_fence(tools, tenant_id, "open")
            tenants.change_status(tenant, Status.ACTIVE)


SEQUENCES: Mapping[str, tuple[Step, ...]] = {
    PROVISION: (
        choose_home,
        build_home,
        enter_in_pooler,
        install_key,
        ready_fence,
        seed,
        try_out,
        open_fence,
        activate,
    ),
    SUSPEND: (suspend_fence,),
    RESUME: (let_in,),
}
"""The steps of each workflow, in order."""


def fail(tools: Tools, tenant_id: UUID, reason: str) -> None:
    """Record that the tenant's home could not be made, and why. What was made stays, for a repeat to go on with."""
    with transaction(tools.estate.engine) as session:
        tenant = tenants.get(session, tenant_id, lock=True)
        if tenant.status == Status.PROVISIONING:
            tenants.change_status(tenant, Status.FAILED, failure=reason)
            audit.record(session, ACTOR, "tenant.fail", tenant.slug, tenant_id=tenant_id, reason=reason)


def _set_fence(tools: Tools, tenant_id: UUID, state: str) -> None:
    place = _place(tools, tenant_id)
    tools.estate.builder(place.server).set_fence(place.database.name, tenant_id, state)


def _build(builder: Builder, place: _Place, wanted: Revisions) -> None:
    if place.home.model == Model.BRIDGE:
        builder.build_schema(place.database.name, place.home.schema, wanted.tenant)
    else:
        builder.copy_silo(place.database.name, wanted)


def _enter_target(tools: Tools, place: _Place, built: Revisions) -> bool:
    """Enter the target on the roll, unless more is wanted by now: a migration of the fleet sees it, or is seen here."""
    with transaction(tools.estate.engine) as session:
        if fleet.wanted(session, hold=True) != built:
            return False
        if place.home.model == Model.SILO:
            fleet.set_home_revision(session, place.database.id, built.home)
        tenants.ensure_target(session, place.database.id, place.home.schema, built.tenant)
        return True


def _database_for(session: Session, tenant: TenantRow, server: Server) -> DatabaseRow:
    model = Model(tenant.model)
    if model is Model.SILO:
        return servers.ensure_database(session, server.name, names.silo_database(tenant.id), model)
    shared = servers.databases_of(session, server.name, model)
    if not shared:
        raise HomeDownError(f"{server.name} has no {model} database yet; `copyhold up` makes one")
    homes = servers.homes_in(session, [row.id for row in shared])
    return min(shared, key=lambda row: (homes.get(row.id, 0), row.name))


def _place(tools: Tools, tenant_id: UUID) -> _Place:
    with transaction(tools.estate.engine) as session:
        tenant = tenants.get(session, tenant_id)
        home = tenants.current_home(session, tenant_id)
        if home is None:
            raise HomeDownError("no home has been chosen for this tenant")
        database = servers.database(session, home.database_id)
        return _Place(
            tenant=tenant, home=home, database=database, server=servers.server_named(session, database.server)
        )


def _route(tools: Tools, tenant_id: UUID) -> Route:
    with transaction(tools.estate.engine) as session:
        route = routes.route_of(session, tenant_id)
    if route is None:
        raise HomeDownError("this tenant is not on the roll")
    return route
