"""Taking a move to where its phase leads when nobody works on it any more: back, forward, or to its end.

Every function may be repeated, by whichever worker; the tenant's lock keeps two of them apart.
"""

from __future__ import annotations

from uuid import UUID

import psycopg
import structlog
from sqlalchemy import delete, func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from control_plane import audit
from control_plane.domain.errors import CopyholdError
from control_plane.domain.moving import RULES, Phase, Way
from control_plane.domain.tenant import Model
from control_plane.registry import fleet, moves, tenants
from control_plane.registry.engine import transaction
from control_plane.registry.moves import CURRENT, LEFT, Held
from control_plane.registry.servers import BUILDING, GOING
from control_plane.registry.tables import DatabaseRow, HomeRow, RouteRow, TargetRow
from provisioning import erasing, logins
from provisioning.building import Place
from provisioning.estate import Estate
from provisioning.moves import fences
from provisioning.moves.errors import at_source, at_target
from provisioning.moves.going import arrive, arrive_back, clear_ways, on_its_way_no_more, whatever_answers
from provisioning.moves.places import source_alone, target_alone
from provisioning.moves.trips import Trip, end_of, holding_trip, read_locked
from provisioning.moves.ways import serve

ACTOR = "worker"
log = structlog.get_logger()


def tidy(estate: Estate, move_id: UUID) -> None:
    """Whatever there is to do for it now; nothing for one that has ended, or is kept and its time has not come."""
    with transaction(estate.engine) as session:
        row = moves.get(session, move_id)
        phase, reason = Phase(row.phase), row.reason
    if phase is Phase.SWITCHED:
        arrive(estate, move_id)
    elif phase is Phase.RETURNED:
        arrive_back(estate, move_id)
    elif phase is Phase.RETURNING:
        stay(estate, move_id, reason)
    elif phase in {Phase.KEPT, Phase.CLEANING}:
        clean(estate, move_id)
    elif RULES[phase].after_crash is Way.BACK:
        call_off(estate, move_id, reason)


def after_failure(estate: Estate, move_id: UUID, reason: str) -> None:
    """Record why work on a move has failed, and tidy up. What cannot be done now is done later, by whoever looks."""
    with transaction(estate.engine) as session:
        row, _ = read_locked(session, move_id)
        phase = Phase(row.phase)
        if RULES[phase].after_crash is Way.NOWHERE:
            return
        if phase is not Phase.CALLING_OFF:  # then it is on record why it was called off
            row.reason = reason
    if phase in {Phase.KEPT, Phase.CLEANING}:
        return
    try:
        tidy(estate, move_id)
    except (CopyholdError, psycopg.Error, DBAPIError) as error:
        log.error("move_not_tidied", move=str(move_id), error=type(error).__name__)


def call_off(estate: Estate, move_id: UUID, reason: str | None) -> None:
    """Exactly the old home again: the tenant served there first of all, then nothing left of what was made for it."""
    with holding_trip(estate, move_id) as (held, trip):
        if RULES[trip.phase].after_crash is not Way.BACK or trip.phase is Phase.RETURNING:
            return
        with held.transaction() as session:
            row, trip = read_locked(session, move_id)
            moves.change_phase(row, Phase.CALLING_OFF)
            row.reason = reason
        serve(end_of(estate, trip.source), trip.tenant_id, trip.epoch)
        if trip.target is not None:
            clear_ways(estate, trip)
            _empty(estate, held, trip, trip.target)
        with held.transaction() as session:
            row, _ = read_locked(session, move_id)
            moves.change_phase(row, Phase.CALLED_OFF)
            row.ended_at = func.now()
            on_its_way_no_more(tenants.get(session, row.tenant_id))
            audit.record(session, ACTOR, "tenant.move_off", trip.slug, tenant_id=row.tenant_id, reason=reason)


def stay(estate: Estate, move_id: UUID, reason: str | None) -> None:
    """The way back was not gone to its end: the tenant stays where it has moved to, and may try again."""
    with holding_trip(estate, move_id) as (held, trip):
        if trip.phase is not Phase.RETURNING:
            return
        serve(end_of(estate, trip.chosen), trip.tenant_id, trip.epoch)
        with whatever_answers(trip, "source"), source_alone(end_of(estate, trip.source)) as old, at_source(old):
            fences.shut(old, trip.tenant_id, trip.epoch + 1)
        with held.transaction() as session:
            row, _ = read_locked(session, move_id)
            moves.change_phase(row, Phase.KEPT)
            row.reason = reason
            on_its_way_no_more(tenants.get(session, row.tenant_id))


def clean(estate: Estate, move_id: UUID, *, now: bool = False) -> None:
    """Delete what the tenant has in the home that it does not live in; `now`: whether or not its time has come.

    FleetBusyError while a run over the fleet goes on, which would miss a home that goes.
    """
    with holding_trip(estate, move_id) as (held, trip):
        with held.transaction() as session:
            row, trip = read_locked(session, move_id)
            kept = Phase(row.phase) is Phase.KEPT
            due = row.undo_until is not None and row.undo_until <= session.scalars(select(func.now())).one()
            if Phase(row.phase) not in {Phase.KEPT, Phase.CLEANING} or (kept and not (due or now)):
                return
            moves.change_phase(row, Phase.CLEANING)
        left = trip.source if trip.source.home.state != CURRENT else trip.chosen
        clear_ways(estate, trip)
        _empty(estate, held, trip, left)
        with held.transaction() as session:
            row, _ = read_locked(session, move_id)
            moves.change_phase(row, Phase.DONE)
            row.ended_at = func.now()


def give_up(estate: Estate, tenant_id: UUID) -> None:
    """Clean up after a tenant's move at once, if one is open: the tenant itself is about to go."""
    with transaction(estate.engine) as session:
        row = moves.open_of(session, tenant_id)
    if row is not None:
        clean(estate, row.id, now=True)


def _empty(estate: Estate, held: Held, trip: Trip, place: Place) -> None:
    """Have a home that nobody is led to hold nothing of the tenant: the database goes, or the schema, or the rows."""
    with held.transaction() as session:
        read_locked(session, trip.id)
        home = session.get_one(HomeRow, place.home.id)
        if home.state == LEFT:
            return
        if home.state == CURRENT or session.get_one(RouteRow, trip.tenant_id).home_id == home.id:
            raise AssertionError("a home that is lived in is never emptied")
        if home.model != Model.POOL:
            _withdraw(session, place)
    if home.model == Model.SILO:
        estate.pooler.apply()
    if not (place.is_lost or (place.database.state == BUILDING and home.model != Model.SILO)):
        _drop(estate, place, trip.tenant_id)
    with held.transaction() as session:
        session.get_one(HomeRow, place.home.id).state = LEFT
        if home.model == Model.SILO:
            logins.bury(estate, session.get_one(DatabaseRow, place.database.id))


def _withdraw(session: Session, place: Place) -> None:
    """Have nobody look for it any more: no run over the fleet, and for a silo no pooler."""
    fleet.keep_still(session)
    session.execute(
        delete(TargetRow).where(TargetRow.database_id == place.database.id, TargetRow.schema == place.home.schema)
    )
    if place.home.model == Model.SILO:
        database = session.get_one(DatabaseRow, place.database.id)
        database.state, database.home_revision = GOING, None


def _drop(estate: Estate, place: Place, tenant_id: UUID) -> None:
    name, schema = place.database.name, place.home.schema
    if place.home.model == Model.SILO:
        estate.builder(place.server).drop_silo(name)
        return
    with target_alone(end_of(estate, place)) as mover, at_target(mover):
        if place.home.model == Model.BRIDGE:
            erasing.drop_schema(estate.doors, place.server, name, schema)
        else:
            erasing.erase_rows_over(mover, schema, tenant_id, duty=estate.duty())
        fences.drop(mover, tenant_id)
