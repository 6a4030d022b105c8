"""The steps by which a tenant gets its home, is suspended and let in again, is exported, closed and erased.

Each step is a plain function that may be repeated after a crash at any point of it, and that learns all it needs from
the roll: it is handed an id and returns nothing. What runs them, in order and durably, is `workflows`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from uuid import UUID

from sqlalchemy import func
from sqlalchemy.orm import Session

from control_plane import audit
from control_plane.domain.route import Route
from control_plane.domain.tenant import Model, Status
from control_plane.registry import exports, placing, routes, tenants
from control_plane.registry.engine import transaction
from control_plane.registry.tables import RouteRow
from control_plane.registry.workflows import (
    ADD_SERVER,
    CLOSE,
    ERASE,
    EXPORT,
    FORETELL,
    GROW,
    MOVE,
    MOVE_BACK,
    PROVISION,
    REMOVE_SERVER,
    REOPEN,
    REPLENISH,
    RESUME,
    ROTATE,
    SUSPEND,
    TIDY_MOVE,
    Workflows,
    kind_of,
)
from control_plane.routing.refusals import HomeDownError
from control_plane.routing.seam import Owner
from provisioning import adding, building, closing, instances, removing, rotating, shared, warming
from provisioning.building import Place
from provisioning.estate import Estate
from provisioning.exports.write import write
from provisioning.inside import Inside
from provisioning.moves import steps as moves
from provisioning.waiting import NotYet

ACTOR = "worker"


@dataclass(frozen=True, kw_only=True)
class Tools:
    """What steps work with."""

    estate: Estate
    inside: Inside
    workflows: Workflows


Step = Callable[[Tools, UUID], NotYet | None]
"""What returns NotYet is asked again later, until it returns nothing."""
Compensation = Callable[[Tools, UUID, str], None]
"""Called with the reason when a workflow has failed."""


def choose_home(tools: Tools, tenant_id: UUID) -> None:
    """Pick server and database and enter home and route on the roll, once."""
    with transaction(tools.estate.engine) as session:
        tenant = tenants.get(session, tenant_id, lock=True)
        if tenants.current_home(session, tenant_id) is not None:
            return
        choice = placing.choose(session, placing.wish_of(tenant), tools.estate.settings.limits.full_at, hold=True)
        model = Model(tenant.model)
        database = building.database_for(tools.estate, tools.workflows, session, choice.server, model)
        schema = building.schema_for(tenant_id, model)
        tenants.ensure_home(session, tenant_id, database.id, schema, model, reason=choice.reason)
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
    """Make the database or schema, as far as the model asks for one of its own, and put up the fence, not open yet."""
    with transaction(tools.estate.engine) as session:
        place, epoch = _place_in(session, tenant_id), session.get_one(RouteRow, tenant_id).epoch
    building.build(tools.estate, place)
    tools.estate.builder(place.server).ensure_fence(place.database.name, tenant_id, epoch)


def seed(tools: Tools, tenant_id: UUID) -> None:
    """Have the tenant app write its first data, the owner among them."""
    with transaction(tools.estate.engine) as session:
        row, route = tenants.pending_owner(session, tenant_id), _route(session, tenant_id)
    owner = Owner(user_id=row.user_id, email=row.email, name=row.name, password_hash=row.password_hash) if row else None
    tools.inside.seed(route, owner)


def try_out(tools: Tools, tenant_id: UUID) -> None:
    """The smoke test: into the home through the pooler with a real token."""
    with transaction(tools.estate.engine) as session:
        route = _route(session, tenant_id)
    tools.inside.try_out(route)


def activate(tools: Tools, tenant_id: UUID) -> None:
    """Open the fence, then publish the route. What was kept of the owner for seeding goes."""
    with transaction(tools.estate.engine) as session:
        tenant = tenants.get(session, tenant_id, lock=True)
        if tenant.status != Status.PROVISIONING:
            return  # This was done before, and what has become of it since is not to be undone.
        _set_fence(tools, _place_in(session, tenant_id), "open")
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
            _set_fence(tools, _place_in(session, tenant_id), "suspended")


def let_in(tools: Tools, tenant_id: UUID) -> None:
    """Open the fence, then publish that the tenant is active; unless it was suspended anew since that was asked for."""
    with transaction(tools.estate.engine) as session:
        tenant = tenants.get(session, tenant_id, lock=True)
        if tenant.status == Status.SUSPENDED and kind_of(tenant.workflow_id) == RESUME:
            _set_fence(tools, _place_in(session, tenant_id), "open")
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


def _on_the_estate(step: Callable[[Estate, UUID], NotYet | None]) -> Step:
    @wraps(step)
    def run(tools: Tools, subject: UUID) -> NotYet | None:
        return step(tools.estate, subject)

    return run


def build_shared(tools: Tools, database_id: UUID) -> None:
    """Build a pool or bridge that a server is to have."""
    shared.build(tools.estate, database_id)


SEQUENCES: Mapping[str, tuple[Step, ...]] = {
    PROVISION: (choose_home, build_home, seed, try_out, activate),
    SUSPEND: (suspend_fence,),
    RESUME: (let_in,),
    CLOSE: (close_fence,),
    REOPEN: (let_back,),
    ERASE: (close_fence, export_last, withdraw, erase_home, strike_off),
    EXPORT: (write_export,),
    REPLENISH: (replenish,),
    GROW: (build_shared,),
    ROTATE: tuple(map(_on_the_estate, rotating.STEPS)),
    MOVE: moves.THERE,
    MOVE_BACK: moves.BACK,
    TIDY_MOVE: moves.TIDY,
    FORETELL: moves.FORETELL,
    ADD_SERVER: tuple(
        map(
            _on_the_estate,
            (
                instances.create_instance,
                instances.await_instance,
                adding.bring_up,
                adding.examine_server,
                adding.make_roles,
                adding.furnish_server,
                adding.take_in,
            ),
        )
    ),
    REMOVE_SERVER: tuple(
        map(
            _on_the_estate,
            (
                removing.empty_server,
                removing.drop_all,
                removing.drop_roles,
                instances.end_instance,
                removing.strike_server,
            ),
        )
    ),
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


def fail_adding(tools: Tools, subject: UUID, reason: str) -> None:
    """Record why a server is not ready."""
    adding.not_added(tools.estate, subject, reason)


def fail_removing(tools: Tools, subject: UUID, reason: str) -> None:
    """Record why a server is still on the roll."""
    removing.not_removed(tools.estate, subject, reason)


FAILURES: Mapping[str, Compensation] = {
    PROVISION: fail,
    ERASE: fail_erasing,
    EXPORT: fail_export,
    ADD_SERVER: fail_adding,
    REMOVE_SERVER: fail_removing,
    MOVE: moves.fail,
    MOVE_BACK: moves.fail,
    TIDY_MOVE: moves.fail,
}
"""What is done when a workflow fails, besides recording why."""


def _set_fence(tools: Tools, place: Place, state: str) -> None:
    tools.estate.builder(place.server).set_fence(place.database.name, place.home.tenant_id, state)


def _place_in(session: Session, tenant_id: UUID) -> Place:
    home = tenants.current_home(session, tenant_id)
    if home is None:
        raise HomeDownError("no home has been chosen for this tenant")
    return building.place_of(session, home)


def _route(session: Session, tenant_id: UUID) -> Route:
    route = routes.route_of(session, tenant_id)
    if route is None:
        raise HomeDownError("this tenant is not on the roll")
    return route
