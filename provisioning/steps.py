"""The steps by which a tenant gets its home, is suspended and let in again, is exported, closed and erased.

Each step is a plain function that may be repeated after a crash at any point of it, and that learns all it needs from
the roll: it is handed an id and returns nothing. What runs them, in order and durably, is `workflows`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial, wraps
from uuid import UUID

from sqlalchemy import func
from sqlalchemy.orm import Session

from control_plane import audit
from control_plane.domain import names
from control_plane.domain.route import Route
from control_plane.domain.server import Server
from control_plane.domain.tenant import Model, Status
from control_plane.registry import exports, fleet, placing, routes, servers, tenants, warm
from control_plane.registry.engine import transaction
from control_plane.registry.fleet import Revisions
from control_plane.registry.servers import BUILDING, READY
from control_plane.registry.tables import DatabaseRow, HomeRow, TenantRow
from control_plane.registry.warm import REPLENISH_AFTER_S
from control_plane.registry.workflows import (
    CLOSE,
    ERASE,
    EXPORT,
    GROW,
    PROVISION,
    REOPEN,
    REPLENISH,
    RESUME,
    ROTATE,
    SUSPEND,
    Workflows,
    kind_of,
)
from control_plane.routing.refusals import HomeDownError
from control_plane.routing.seam import Owner
from provisioning import closing, rotating, shared, silos, warming
from provisioning.estate import Estate
from provisioning.exports.write import write
from provisioning.inside import Inside
from provisioning.silos import Enter

ACTOR = "worker"


@dataclass(frozen=True, kw_only=True)
class Tools:
    """What steps work with."""

    estate: Estate
    inside: Inside
    workflows: Workflows


Step = Callable[[Tools, UUID], None]
Compensation = Callable[[Tools, UUID, str], None]
"""Called with the reason when a workflow has failed."""


@dataclass(frozen=True, kw_only=True)
class _Place:
    """A tenant's home as provisioning sees it."""

    tenant: TenantRow
    home: HomeRow
    database: DatabaseRow
    server: Server

    @property
    def to_be_made(self) -> bool:
        """Whether it is a silo that is not all there: one that was kept ready is."""
        return self.home.model == Model.SILO and self.database.state == BUILDING


def choose_home(tools: Tools, tenant_id: UUID) -> None:
    """Pick server and database and enter home and route on the roll, once."""
    with transaction(tools.estate.engine) as session:
        tenant = tenants.get(session, tenant_id, lock=True)
        if tenants.current_home(session, tenant_id) is not None:
            return
        choice = placing.choose(session, placing.wish_of(tenant), tools.estate.settings.limits.full_at, hold=True)
        database = _database_for(tools, session, tenant, choice.server)
        bridge = tenant.model == Model.BRIDGE
        schema = names.bridge_schema(tenant_id) if bridge else names.SHARED_SCHEMA
        tenants.ensure_home(session, tenant_id, database.id, schema, Model(tenant.model), reason=choice.reason)
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
    if place.home.model != Model.SILO and place.database.state == BUILDING:
        shared.build(tools.estate, place.database.id)
    if place.home.model == Model.BRIDGE:
        silos.at_wanted(tools.estate, partial(_build_schema, tools, place))
    elif place.to_be_made:
        silos.at_wanted(tools.estate, partial(silos.copy, tools.estate, place.server, place.database))


def enter_in_pooler(tools: Tools, tenant_id: UUID) -> None:
    """Have the pooler serve the database. A pool's or bridge's has been served since it was made."""
    if _place(tools, tenant_id).to_be_made:
        tools.estate.pooler.apply()


def install_key(tools: Tools, tenant_id: UUID) -> None:
    """Give a silo its signing key, which its template does not hold. With that all of it is there."""
    place = _place(tools, tenant_id)
    if place.to_be_made:
        silos.install_key(tools.estate, place.server, place.database)
        with transaction(tools.estate.engine) as session:
            servers.database(session, place.database.id).state = READY


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
        if tenant.status != Status.PROVISIONING:
            return  # This was done before, and what has become of it since is not to be undone.
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


def close_fence(tools: Tools, tenant_id: UUID) -> None:
    """Have the home itself refuse a tenant that is closing."""
    closing.close_fence(tools.estate, tenant_id)


def let_back(tools: Tools, tenant_id: UUID) -> None:
    """Have a closing tenant back as what it was, the fence first."""
    closing.let_back(tools.estate, tenant_id)


def export_last(tools: Tools, tenant_id: UUID) -> None:
    """Write out all that the tenant has, unless nobody wants that."""
    closing.export_last(tools.estate, tenant_id)


def withdraw(tools: Tools, tenant_id: UUID) -> None:
    """Have neither the fleet nor the pooler look for the home any more."""
    closing.withdraw(tools.estate, tenant_id)


def erase_home(tools: Tools, tenant_id: UUID) -> None:
    """Drop database and login, or schema, or rows; then the fence."""
    closing.erase_home(tools.estate, tenant_id)


def strike_off(tools: Tools, tenant_id: UUID) -> None:
    """Leave a tombstone on the roll."""
    closing.strike_off(tools.estate, tenant_id)


def write_export(tools: Tools, export_id: UUID) -> None:
    """Write an export that was asked for."""
    write(tools.estate, export_id)


def replenish(tools: Tools, subject: UUID) -> None:
    """Have a server keep as many finished silos ready as it is to."""
    warming.replenish(tools.estate, subject)


def _on_the_estate(step: rotating.EstateStep) -> Step:
    @wraps(step)
    def run(tools: Tools, subject: UUID) -> None:
        step(tools.estate, subject)

    return run


def build_shared(tools: Tools, database_id: UUID) -> None:
    """Build a pool or bridge that a server is to have."""
    shared.build(tools.estate, database_id)


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
    CLOSE: (close_fence,),
    REOPEN: (let_back,),
    ERASE: (close_fence, export_last, withdraw, erase_home, strike_off),
    EXPORT: (write_export,),
    REPLENISH: (replenish,),
    GROW: (build_shared,),
    ROTATE: tuple(map(_on_the_estate, rotating.STEPS)),
}
"""The steps of each workflow, in order."""


def fail(tools: Tools, tenant_id: UUID, reason: str) -> None:
    """Record that the tenant's home could not be made, and why. What was made stays, for a repeat to go on with."""
    with transaction(tools.estate.engine) as session:
        tenant = tenants.get(session, tenant_id, lock=True)
        if tenant.status == Status.PROVISIONING:
            tenants.change_status(tenant, Status.FAILED, failure=reason)
            audit.record(session, ACTOR, "tenant.fail", tenant.slug, tenant_id=tenant_id, reason=reason)


def fail_erasing(tools: Tools, tenant_id: UUID, reason: str) -> None:
    """Record why the last export was not written, if that is where it ended."""
    closing.not_erased(tools.estate, tenant_id, reason)


def fail_export(tools: Tools, export_id: UUID, reason: str) -> None:
    """Record why an export was not written."""
    with transaction(tools.estate.engine) as session:
        exports.failed(session, export_id, reason)


FAILURES: Mapping[str, Compensation] = {PROVISION: fail, ERASE: fail_erasing, EXPORT: fail_export}
"""What is done when a workflow fails, besides recording why."""


def _set_fence(tools: Tools, tenant_id: UUID, state: str) -> None:
    place = _place(tools, tenant_id)
    tools.estate.builder(place.server).set_fence(place.database.name, tenant_id, state)


def _build_schema(tools: Tools, place: _Place, wanted: Revisions) -> Enter:
    tools.estate.builder(place.server).build_schema(place.database.name, place.home.schema, wanted.tenant)
    return lambda session: tenants.ensure_target(session, place.database.id, place.home.schema, wanted.tenant)


def _database_for(tools: Tools, session: Session, tenant: TenantRow, server: Server) -> DatabaseRow:
    model = Model(tenant.model)
    if model is Model.SILO:
        claimed = warm.claim(session, server.name, fleet.wanted(session, hold=True))
        session.flush()
        warm.replenish(session, tools.workflows, server.name, ACTOR, after_s=REPLENISH_AFTER_S)
        return claimed or servers.add_silo(session, server.name)
    full_at = tools.estate.settings.limits.full_at
    with_room = placing.database_with_room(session, server.name, model, full_at)
    return with_room or placing.add_shared(session, server.name, model)


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
