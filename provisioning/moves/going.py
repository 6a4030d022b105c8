"""What the steps of a move do, there and back. Each may be repeated: it looks at the phase on record first."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from uuid import UUID

import psycopg
import structlog
from sqlalchemy import func
from sqlalchemy.orm import Session

from control_plane import audit
from control_plane.domain.errors import CopyholdError
from control_plane.domain.moving import GOING, RULES, Phase, Recipe
from control_plane.domain.tenant import Status
from control_plane.registry import moves, servers, tenants
from control_plane.registry.moves import Held
from control_plane.registry.tables import MoveRow, TenantRow
from provisioning.building import Place
from provisioning.estate import Estate
from provisioning.inside import Inside
from provisioning.moves import fences
from provisioning.moves.comparing import has_more_rows
from provisioning.moves.copying import Progress
from provisioning.moves.errors import at_source, at_target
from provisioning.moves.following import Follower
from provisioning.moves.freezing import BrokenOffError, tried_once, under_freeze
from provisioning.moves.places import Place as End
from provisioning.moves.places import source_alone, source_of, target_alone, target_of
from provisioning.moves.slots import Writer, named
from provisioning.moves.switching import SMALL_ROWS, HandOver, Outcome, by_stream, catch_up, hand_over
from provisioning.moves.tables import Table
from provisioning.moves.trips import Trip, end_of, holding_trip, read_locked, refuse_if_cancelled
from provisioning.moves.ways import (
    clear_source,
    clear_target,
    clear_way_there,
    erase_tenant,
    moved_tables,
    prepare_way_back,
    serve,
    way_back,
    way_there,
)
from provisioning.sessions import end_others

ACTOR = "worker"
TOLD_EVERY_S = 0.5
UNSEEN = "whether both homes had the same rows was not looked at to the end: the worker that did was cut off"
log = structlog.get_logger()


def carry_over(estate: Estate, inside: Inside, move_id: UUID) -> None:
    """Copy the tenant, follow it, switch it. A try before that ended on the way is undone, and all begins anew."""
    with holding_trip(estate, move_id) as (held, trip):
        if trip.phase not in GOING:
            return  # Passed; or called off, and then the tenant may have moved there since by another move.
        source, target = end_of(estate, trip.source), end_of(estate, trip.chosen)
        _begin_anew(held, trip, estate)
        tables = moved_tables(source, target, estate.app.metadata)
        check = _Check(held, move_id)
        work = HandOver(
            estate=estate,
            inside=inside,
            held=held,
            trip=trip,
            old=trip.source,
            new=trip.chosen,
            tables=tables,
            forth=True,
            keep=bool(trip.window_s),
            compare_first=_is_small(source, tables, trip.tenant_id),
        )
        if trip.recipe is Recipe.FREEZE:
            _carry_frozen(work, check)
        else:
            _carry_streaming(work, check)


def arrive(estate: Estate, move_id: UUID) -> None:
    """The new home open, the old one closed and kept; the tenant is active again, or as suspended as it was."""
    with holding_trip(estate, move_id) as (held, trip):
        if trip.phase is not Phase.SWITCHED:
            return
        source, target = end_of(estate, trip.source), end_of(estate, trip.chosen)
        _open(estate, trip, trip.chosen)
        with whatever_answers(trip, "source"):
            with source_alone(source) as old, at_source(old):
                fences.shut(old, trip.tenant_id, trip.epoch - 1)
            clear_way_there(source, target, trip.tenant_id)
        with held.transaction() as session:
            row, _ = read_locked(session, move_id)
            moves.change_phase(row, Phase.KEPT)
            # What is not the same is not given up before somebody has looked at it.
            row.undo_until = func.now() + timedelta(seconds=row.undo_window_s) if row.verified is not False else None
            if row.verified is None:
                row.reason = UNSEEN
            if not row.undo_window_s:
                row.revision = None
            _arrived(session, row, "tenant.moved", trip)


def carry_back(estate: Estate, inside: Inside, move_id: UUID) -> None:
    """Bring the rest of what has changed since into the old home, and switch back."""
    with holding_trip(estate, move_id) as (held, trip):
        if trip.phase is not Phase.RETURNING:
            return
        new, old = end_of(estate, trip.chosen), end_of(estate, trip.source)
        serve(new, trip.tenant_id, trip.epoch)  # A try may have ended in the midst of a freeze.
        tables = moved_tables(new, old, estate.app.metadata)
        check = _Check(held, move_id)
        with way_back(new, old, tables, trip.tenant_id) as follower:
            work = HandOver(
                estate=estate,
                inside=inside,
                held=held,
                trip=trip,
                old=trip.chosen,
                new=trip.source,
                tables=tables,
                forth=False,
                # Where it is known that they differ, whoever wants it back knows that too.
                compare_first=_known_to_be_the_same(held, move_id) and _is_small(new, tables, trip.tenant_id),
            )
            _record(held, trip, hand_over(work, by_stream(follower, trip, check, estate.duty())))


def arrive_back(estate: Estate, move_id: UUID) -> None:
    """The old home open, the one that was come from closed: what is left there goes next, unless the two differ."""
    with holding_trip(estate, move_id) as (held, trip):
        if trip.phase is not Phase.RETURNED:
            return
        _open(estate, trip, trip.source)
        with whatever_answers(trip, "target"), target_alone(end_of(estate, trip.chosen)) as new, at_target(new):
            fences.shut(new, trip.tenant_id, trip.epoch - 1)
        with held.transaction() as session:
            row, _ = read_locked(session, move_id)
            if row.verified is not False:
                moves.change_phase(row, Phase.CLEANING)
            else:
                moves.change_phase(row, Phase.KEPT)
                row.revision = row.undo_until = None
            _arrived(session, row, "tenant.moved_back", trip)


def _carry_streaming(work: HandOver, check: _Check) -> None:
    """Copy the tenant while it works, have its changes follow, switch it."""
    estate, held, trip = work.estate, work.held, work.trip
    source, target = end_of(estate, work.old), end_of(estate, work.new)
    with way_there(
        source,
        target,
        work.tables,
        trip.tenant_id,
        tell=check.copied,
        waiting=check.waits_for,
        duty=estate.duty(),
    ) as follower:
        check.tell()
        _phase(held, trip.id, Phase.FOLLOWING)
        if trip.window_s:
            with source_of(source) as watcher:
                catch_up(follower, watcher, check, estate.duty())
            prepare_way_back(target, work.tables, trip.tenant_id, waiting=partial(_pumped, follower, check))
        _phase(held, trip.id, Phase.FREEZING)
        _record(held, trip, hand_over(work, by_stream(follower, trip, check, estate.duty())))


def _carry_frozen(work: HandOver, check: _Check) -> None:
    """Freeze the tenant, copy it, switch it: once, for whoever asked has agreed to one wait."""
    trip, new = work.trip, end_of(work.estate, work.new)
    if trip.window_s:
        prepare_way_back(new, work.tables, trip.tenant_id, waiting=lambda _: check())
    check.tell()
    _phase(work.held, trip.id, Phase.FREEZING)
    schemas = work.old.home.schema, work.new.home.schema
    bringing = under_freeze(schemas, work.tables, trip.tenant_id, tell=check.copied, check=check)
    bound_s = work.estate.settings.limits.frozen_copy_s
    with tried_once(work.held, trip.id):
        outcome = hand_over(replace(work, compare_first=True, bound_s=bound_s), bringing)
    _record(work.held, trip, outcome)


def _is_small(lives_in: End, tables: Sequence[Table], tenant_id: UUID) -> bool:
    with source_of(lives_in) as connection, at_source(connection):
        return not has_more_rows(connection, lives_in.schema, tables, tenant_id, SMALL_ROWS)


def _known_to_be_the_same(held: Held, move_id: UUID) -> bool:
    with held.transaction() as session:
        return moves.get(session, move_id).verified is not False


class _Check:
    """Asked now and then whether to go on; tells meanwhile how far the copy is."""

    def __init__(self, held: Held, move_id: UUID) -> None:
        self._held, self._move_id = held, move_id
        self._rows = self._bytes = 0
        self._asked = 0.0

    def copied(self, progress: Progress) -> None:
        self._rows, self._bytes = progress.rows, progress.bytes
        self()

    def waits_for(self, writers: Sequence[Writer]) -> None:
        """Transactions that have to end before a stream can begin: they are named in the move."""
        self.tell(f"waits for {named(writers)}")

    def __call__(self) -> None:
        if time.monotonic() - self._asked >= TOLD_EVERY_S:
            self.tell()

    def tell(self, reason: str | None = None) -> None:
        """Whenever it was asked last."""
        self._asked = time.monotonic()
        with self._held.transaction() as session:
            moves.record_progress(session, self._move_id, rows=self._rows, bytes_=self._bytes)
            row = moves.get(session, self._move_id)
            row.reason = reason or row.reason
            if RULES[Phase(row.phase)].can_cancel:
                refuse_if_cancelled(row)


def _pumped(follower: Follower, check: _Check, writers: Sequence[Writer]) -> None:
    follower.pump(0)
    check.waits_for(writers)


def _begin_anew(held: Held, trip: Trip, estate: Estate) -> None:
    """Undo what a try before has left: the tenant served, the new home empty. A first try has left nothing."""
    source, target = end_of(estate, trip.source), end_of(estate, trip.chosen)
    serve(source, trip.tenant_id, trip.epoch)
    if trip.recipe is Recipe.FREEZE and trip.phase is Phase.FREEZING:
        raise BrokenOffError
    if trip.phase is not Phase.PREPARING:
        clear_ways(estate, trip)
        erase_tenant(target, trip.tenant_id, duty=estate.duty())
    with held.transaction() as session:
        row, _ = read_locked(session, trip.id)
        refuse_if_cancelled(row)
        moves.change_phase(row, Phase.COPYING)
        row.rows = row.bytes = 0


def _phase(held: Held, move_id: UUID, phase: Phase) -> None:
    with held.transaction() as session:
        row, _ = read_locked(session, move_id)
        refuse_if_cancelled(row)
        moves.change_phase(row, phase)
        row.reason = None


def _record(held: Held, trip: Trip, outcome: Outcome) -> None:
    said = "; ".join(map(str, outcome.differing))
    if outcome.differing:
        log.error("move_differs", tenant_id=str(trip.tenant_id), move=str(trip.id), tables=len(outcome.differing))
    with held.transaction() as session:
        row = moves.get(session, trip.id, lock=True)
        # Nobody waits for a home that lets nobody in.
        row.stall_ms = round(outcome.stall_ms, 1) if not trip.is_suspended else None
        row.verified = not outcome.differing
        if outcome.differing:
            row.reason = f"the home that was left is kept, for the two did not have the same rows: {said}"
            audit.record(session, ACTOR, "tenant.move_differs", trip.slug, tenant_id=trip.tenant_id, tables=said)


def _open(estate: Estate, trip: Trip, place: Place) -> None:
    with target_of(end_of(estate, place)) as connection, at_target(connection):
        try:
            end_others(connection)
        finally:
            fences.put(connection, trip.tenant_id, trip.epoch, trip.arrived)


def on_its_way_no_more(tenant: TenantRow) -> None:
    """Who was served is active again; who was suspended still is."""
    if Status(tenant.status) is Status.MOVING:
        tenants.change_status(tenant, Status.ACTIVE)


def _arrived(session: Session, row: MoveRow, action: str, trip: Trip) -> None:
    on_its_way_no_more(tenants.get(session, row.tenant_id, lock=True))
    facts = {"epoch": trip.epoch, "stall_ms": row.stall_ms, "verified": row.verified}
    audit.record(session, ACTOR, action, trip.slug, tenant_id=row.tenant_id, **facts)


@contextmanager
def whatever_answers(trip: Trip, end: str) -> Iterator[None]:
    """Go on when an end that the tenant has left does not answer: its epoch alone keeps everybody out of there."""
    try:
        yield
    except (psycopg.Error, CopyholdError) as error:
        log.warning("move_end_silent", move=str(trip.id), end=end, error=type(error).__name__)


def clear_ways(estate: Estate, trip: Trip) -> None:
    """Leave no slot, no publication and no progress of either way, whatever there is of them.

    Of a home that has not been made, or is on its way out, there are none: they went before that.
    """
    if _is_there(trip.source):
        clear_source(end_of(estate, trip.source), trip.tenant_id)
    if _is_there(trip.chosen):
        clear_target(end_of(estate, trip.chosen), trip.tenant_id)


def _is_there(place: Place) -> bool:
    return not place.is_lost and place.database.state not in {servers.BUILDING, servers.GOING, servers.GONE}
