"""Before the copy: whether a move may begin at all, and the home that it is to fill."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.orm import Session

from control_plane.domain.errors import ConflictError
from control_plane.domain.ids import new_id
from control_plane.domain.moving import PASSED, Phase
from control_plane.domain.placement import NoServerError, Wish
from control_plane.domain.server import Server
from control_plane.domain.tenant import Model, Plan
from control_plane.registry import moves, placing, tenants
from control_plane.registry.engine import transaction
from control_plane.registry.moves import FILLING, LEFT, Held
from control_plane.registry.tables import HomeRow, MoveRow
from control_plane.registry.workflows import Workflows
from control_plane.tenants import moving
from provisioning import building
from provisioning.estate import Estate
from provisioning.inside import Inside
from provisioning.moves import fences
from provisioning.moves.copying import require_empty
from provisioning.moves.errors import NotEmptyError, at_target
from provisioning.moves.facts import gather
from provisioning.moves.fences import READY
from provisioning.moves.obstacles import obstacles
from provisioning.moves.places import target_alone
from provisioning.moves.recipes import Terms, plan
from provisioning.moves.trips import Trip, end_of, holding_trip, read, read_locked, refuse_if_cancelled
from provisioning.moves.ways import moved_tables


class PreconditionError(ConflictError):
    """The tenant cannot be moved as things are."""

    code = "move_preconditions"


def check(estate: Estate, move_id: UUID) -> None:
    """Find the recipe, and record it; PreconditionError with every objection, each in words."""
    with transaction(estate.engine) as session:
        trip, row = read(session, move_id), moves.get(session, move_id)
        refuse_if_cancelled(row)
        terms = terms_of(
            estate, allow_freeze=row.allow_freeze, window_s=row.undo_window_s, nobody_waits=trip.is_suspended
        )
        target, unplaced = _server_for(estate, session, row, trip)
    if trip.phase in PASSED:
        return
    facts = gather(estate, trip.source, trip.tenant_id, target)
    planned = plan(facts, terms)
    objections = (*unplaced, *planned.objections)
    with transaction(estate.engine) as session:
        row, _ = read_locked(session, move_id)
        row.recipe, row.expected_stall_s, row.note = str(planned.recipe), planned.stall_s, planned.note
        row.rows_total = facts.size.rows if facts.size is not None else None
        if not objections:
            row.undo_window_s = planned.window_s
    if objections:
        raise PreconditionError(f"{trip.slug!r} cannot be moved now: {'; '.join(objections)}")


def terms_of(estate: Estate, *, allow_freeze: bool, window_s: int, nobody_waits: bool) -> Terms:
    """What is asked for, and what the platform's settings allow."""
    return Terms(
        allow_freeze=allow_freeze,
        window_s=window_s,
        nobody_waits=nobody_waits,
        bound_s=estate.settings.limits.frozen_copy_s,
    )


def prepare(estate: Estate, inside: Inside, workflows: Workflows, move_id: UUID) -> None:
    """Choose the home to be and make it, empty and shut; then try it through the pooler."""
    with holding_trip(estate, move_id) as (held, trip):
        if trip.phase not in {Phase.REQUESTED, Phase.PREPARING}:
            return
        with held.transaction() as session:
            row, trip = read_locked(session, move_id)
            refuse_if_cancelled(row)
            moves.change_phase(row, Phase.PREPARING)
            if row.target_id is None:
                row.target_id = _choose(estate, workflows, session, row, trip)
            session.flush()
            trip = read(session, move_id)
        building.build(estate, trip.chosen)
        with held.transaction() as session:
            trip = read(session, move_id)
        _put_up_fence(estate, held, trip)
        inside.try_out(trip.route_to(trip.chosen, trip.epoch + 1))


def _put_up_fence(estate: Estate, held: Held, trip: Trip) -> None:
    source, target = end_of(estate, trip.source), end_of(estate, trip.chosen)
    tables = moved_tables(source, target, estate.app.metadata)
    with target_alone(target) as connection:
        try:
            require_empty(connection, target.schema, tables, trip.tenant_id)
        except NotEmptyError:
            _choose_no_more(held, trip)
            raise
        with at_target(connection):
            if trip.window_s and (found := obstacles(connection)):
                words = "; ".join(each.words for each in found)
                raise PreconditionError(f"nothing could flow back from {trip.chosen.server.name}: {words}")
            fences.put(connection, trip.tenant_id, trip.epoch + 1, READY)


def _server_for(estate: Estate, session: Session, row: MoveRow, trip: Trip) -> tuple[Server | None, tuple[str, ...]]:
    """With what is in the way of there being one."""
    if trip.target is not None:
        return trip.target.server, ()
    tenant, full_at = tenants.get(session, row.tenant_id), estate.settings.limits.full_at
    try:
        journey = moving.consider(session, tenant, Model(row.model), row.server, full_at, database=row.database)
    except NoServerError as error:
        return None, (error.message,)
    return journey.choice.server, ()


def _choose(estate: Estate, workflows: Workflows, session: Session, row: MoveRow, trip: Trip) -> UUID:
    tenant, model = tenants.get(session, row.tenant_id), Model(row.model)
    wish = Wish(
        model=model,
        plan=Plan(tenant.plan),
        labels=tuple(tenant.labels),
        server=row.server,
        region=tenant.wanted_region,
    )
    full_at = estate.settings.limits.full_at
    choice = placing.choose(session, wish, full_at, hold=True, mover=tenant.id)
    if row.database is not None:
        database = moving.named_with_room(session, row.database, choice.server, model, full_at)
    else:
        database = building.database_for(estate, workflows, session, choice.server, model)
    if database.id == trip.source.database.id:
        raise PreconditionError(f"{trip.slug!r} lives in {database.name} already")
    home = HomeRow(
        id=new_id(),
        tenant_id=row.tenant_id,
        database_id=database.id,
        schema=building.schema_for(row.tenant_id, model),
        model=str(model),
        state=FILLING,
        reason=choice.reason,
    )
    session.add(home)
    session.flush()
    return home.id


def _choose_no_more(held: Held, trip: Trip) -> None:
    """What is there already is not of this move's making, and not for it to delete."""
    with held.transaction() as session:
        row, _ = read_locked(session, trip.id)
        session.get_one(HomeRow, trip.chosen.home.id).state = LEFT
        row.target_id = None
