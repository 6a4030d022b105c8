"""Handing a tenant over to another home: freeze, the last changes, both homes compared, the route, open.

Up to the commit in `_switch` the tenant lives in the old home and is thawed there, whatever fails; from it on in the
new one. That commit is made by the connection that holds the tenant's lock, so that it cannot come late.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime

import psycopg
import structlog

from control_plane.domain.errors import ConflictError, CopyholdError
from control_plane.domain.moving import Phase, enter
from control_plane.domain.tenant import Model
from control_plane.registry import moves
from control_plane.registry.moves import Held
from control_plane.registry.switching import Found, Switch, switched
from provisioning.building import Place
from provisioning.duty import Duty, at_once
from provisioning.estate import Estate
from provisioning.inside import Inside
from provisioning.moves import fences, progress
from provisioning.moves.bounds import FrozenTooLongError, SilentError, cut_after, freezing
from provisioning.moves.comparing import Difference, differences, sums
from provisioning.moves.errors import NotCaughtUpError, at_source, at_target
from provisioning.moves.fences import READY
from provisioning.moves.following import Follower
from provisioning.moves.listening import Listening
from provisioning.moves.places import freeze_view, source_of, target_of
from provisioning.moves.sequences import advance_sequences
from provisioning.moves.slots import back_name
from provisioning.moves.tables import Table, tables_of
from provisioning.moves.trips import CancelledError, Trip, end_of
from provisioning.roles import Connection

CAUGHT_UP_S = 0.03
"""What is still under way then is applied within the freeze. Frozen on "nothing to read" it took up to 776 ms."""
CAUGHT_UP_TRIES = 100
IN_VAIN = 5
"""Tries in a row that were no quicker than the quickest: a machine that is full does not become quicker by more."""
FREEZE_WAIT_MS = 200
"""So long at most do requests wait for those before them, at each try."""
FREEZE_PAUSE_S = 0.5
"""Between two tries everybody is served."""
FREEZE_GIVE_UP_S = 90.0
"""Three times as long as the app's longest transaction."""
FROZEN_S = 3.0
"""So long at most is a tenant frozen; less than its requests wait."""
SILENT_S = FROZEN_S + 1.0
"""So long when a server says nothing at all."""
FROZEN_TRIES = 5
SMALL_ROWS = 5_000
"""So many are compared before the switch, in some ten milliseconds; more than these on two snapshots after it."""
log = structlog.get_logger()


class FreezeError(ConflictError):
    """The tenant could not be frozen: its own transactions take too long."""

    code = "move_not_frozen"


class DifferentError(CopyholdError):
    """The two homes do not have the same rows. Nothing was switched."""

    code = "move_different"


class RouteChangedError(ConflictError):
    """The tenant's route is not what it was when the move began."""

    code = "move_route_changed"


@dataclass(frozen=True, kw_only=True)
class HandOver:
    """From one home into the other, either way."""

    estate: Estate
    inside: Inside
    held: Held
    trip: Trip
    old: Place
    new: Place
    tables: Sequence[Table]
    forth: bool
    """Whether it is the way there; the way back leaves nothing to come back by."""
    keep: bool = False
    """Whether what changes in the new home is to flow back."""
    compare_first: bool = False
    """Whether both homes are compared before the switch, which keeps the tenant waiting, and not after it."""
    bound_s: float | None = None
    """How long at most the tenant is kept waiting for the rest; None for as long as a stream may take."""


@dataclass(frozen=True, kw_only=True)
class Bringing:
    """How what the new home does not have yet is brought there. Each may raise to give up."""

    get_close: Callable[[Connection], object]
    """Before the freeze, with a connection to the old home: leaves little to be brought within it."""
    meanwhile: Callable[[float], object]
    """For so many seconds, when the tenant could not be frozen and is served."""
    bring_rest: Callable[[Listening, Listening], object]
    """Frozen, with connections to both: nobody writes any more, and the new home gets all that the old one has."""
    connections: Sequence[Connection] = ()
    """Those of its own that it waits for meanwhile."""


def by_stream(follower: Follower, trip: Trip, check: Callable[[], None], duty: Duty) -> Bringing:
    """What comes out of the old home's stream; `check` is asked while it catches up, in that duty cycle at first."""

    def bring_rest(old: Connection, _: Connection) -> None:
        if trip.is_suspended:
            # Its fence may have come by like this before, and been open since.
            follower.catch_up(old, deadline_s=FROZEN_S)
        else:
            follower.wait_for_fence(trip.epoch, trip.held, deadline_s=FROZEN_S)

    return Bringing(
        get_close=lambda old: catch_up(follower, old, check, duty),
        meanwhile=follower.pump,
        bring_rest=bring_rest,
        connections=follower.connections,
    )


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of it."""

    stall_ms: float
    differing: Sequence[Difference]


@dataclass(frozen=True, kw_only=True)
class _Hands:
    """The connections that a freeze needs, opened before it: that takes longer than all the rest."""

    old: Listening
    new: Listening
    new_view: Connection
    """The new home as it was before anybody wrote into it."""
    new_tables: Sequence[Table] = field(default_factory=tuple)


@dataclass(frozen=True, kw_only=True)
class _Freeze:
    """When it began, by this process's clock; and by the server's, which tells it from others."""

    began: float
    since: datetime


def catch_up(follower: Follower, source: Connection, check: Callable[[], None], duty: Duty) -> None:
    """Apply what has changed until hardly anything is under way; `check` is asked meanwhile, and may raise.

    Faster each time: a tenant that writes more than is applied in the first share would never be caught up with. Where
    that does not bring it nearer it is left at that: following for longer only takes more from those who wait.
    """
    least_s, in_vain = float("inf"), 0
    for _ in range(CAUGHT_UP_TRIES):
        # From its commit on: how long that takes on a slow disk says nothing of what is under way.
        mark, began = follower.mark(source), time.monotonic()
        follower.duty = duty
        while not follower.has_passed(mark):
            follower.pump()
            check()
        took_s = time.monotonic() - began
        in_vain = 0 if took_s < least_s else in_vain + 1
        least_s = min(least_s, took_s)
        if took_s < CAUGHT_UP_S or in_vain == IN_VAIN:
            break
        duty = duty.hurried()
    follower.duty = at_once()


def hand_over(work: HandOver, bringing: Bringing) -> Outcome:
    """Do all of it. FreezeError, DifferentError, NotCaughtUpError, FrozenTooLongError, what `bringing` or a server
    raises: the tenant is thawed then.

    An error after the switch leaves it frozen in the new home, for whoever comes next to open: `Phase` says so.
    """
    tenant_id, epoch = work.trip.tenant_id, work.trip.epoch
    with _hands(work) as hands:
        _make_ready(work, hands)
        with freezing():
            frozen, seen = _frozen(work, bringing, hands)
            _switch(work, seen is not None, lambda: _thaw(work, hands, frozen))
        with at_target(hands.new):
            fences.put(hands.new, tenant_id, epoch + 1, work.trip.arrived)
        stall_ms = (time.monotonic() - frozen.began) * 1000
        with suppress(psycopg.Error):
            fences.shut(hands.old, tenant_id, epoch)
        differing = seen if seen is not None else _compared(work, hands, work.estate.duty())
        return Outcome(stall_ms=stall_ms, differing=differing)


def _make_ready(work: HandOver, hands: _Hands) -> None:
    """All that the new home can be asked before the freeze; whoever comes there then is kept waiting."""
    tenant_id, epoch = work.trip.tenant_id, work.trip.epoch + 1
    with at_target(hands.new):
        fences.put(hands.new, tenant_id, epoch, READY)
    # Through the pooler: those who come first would wait for its first connection there.
    work.inside.try_out(work.trip.route_to(work.new, epoch))
    with at_target(hands.new):
        fences.put(hands.new, tenant_id, epoch, work.trip.held)


@contextmanager
def _hands(work: HandOver) -> Iterator[_Hands]:
    old, new = end_of(work.estate, work.old), end_of(work.estate, work.new)
    with source_of(old) as leaving, target_of(new) as arriving, target_of(new) as view:
        with at_target(arriving):
            there = tables_of(arriving, new.schema, work.estate.app.metadata)
        yield _Hands(old=leaving, new=arriving, new_view=view, new_tables=there)


def _frozen(work: HandOver, bringing: Bringing, hands: _Hands) -> tuple[_Freeze, Sequence[Difference] | None]:
    """Frozen, with everything in the new home; how the two differ, as far as that was looked at."""
    waited_for = hands.old, hands.new, hands.new_view, *bringing.connections
    bound_s, error = (SILENT_S, SilentError) if work.bound_s is None else (work.bound_s, FrozenTooLongError)
    for left in reversed(range(FROZEN_TRIES)):
        freeze = _freeze(work, bringing, hands)
        try:
            with cut_after(bound_s, waited_for, error):
                return freeze, _last_changes(work, bringing, hands)
        except BaseException as failed:
            _thaw(work, hands, freeze)
            if not (isinstance(failed, NotCaughtUpError) and left):
                raise
    raise AssertionError


def _freeze(work: HandOver, bringing: Bringing, hands: _Hands) -> _Freeze:
    """All who were inside have left."""
    tenant_id, until = work.trip.tenant_id, time.monotonic() + FREEZE_GIVE_UP_S
    while True:
        bringing.get_close(hands.old)
        began = time.monotonic()
        with at_source(hands.old):
            since = fences.freeze(hands.old, tenant_id, work.trip.epoch, FREEZE_WAIT_MS, work.trip.held)
        if since is not None:
            return _Freeze(began=began, since=since)
        with work.estate.builder(work.old.server).admin(work.old.database.name) as admin:
            waits_for = fences.who_is_inside(admin, tenant_id)
        with work.held.transaction() as session:
            row = moves.get(session, work.trip.id)
            row.tries, row.reason = row.tries + 1, f"waits for {waits_for}"
        if time.monotonic() > until:
            raise FreezeError(f"{FreezeError().message[:-1]} ({waits_for})")
        bringing.meanwhile(FREEZE_PAUSE_S)


def _thaw(work: HandOver, hands: _Hands, freeze: _Freeze) -> None:
    """Of this freeze alone: who has lost the tenant's lock meanwhile must not thaw another's."""
    try:
        fences.thaw(hands.old, work.trip.tenant_id, work.trip.epoch, freeze.since)
    except psycopg.Error:
        # Over another connection, then; a server that is gone is thawed by whoever tidies up.
        with suppress(psycopg.Error, CopyholdError), source_of(end_of(work.estate, work.old)) as again:
            fences.thaw(again, work.trip.tenant_id, work.trip.epoch, freeze.since)


def _last_changes(work: HandOver, bringing: Bringing, hands: _Hands) -> Sequence[Difference] | None:
    """Nobody writes any more: bring the rest, and have the new home seen as it is now; the old one changes no more.

    How the two differ; None when they are not compared yet.
    """
    bringing.bring_rest(hands.old, hands.new)
    advance_sequences(hands.old, work.tables, hands.new, hands.new_tables)
    with at_target(hands.new_view):
        end = freeze_view(hands.new_view)
    seen = _compared(work, hands) if work.compare_first else None
    if seen:
        raise DifferentError(f"{DifferentError().message} {'; '.join(map(str, seen))}")
    if work.keep:
        with at_source(hands.old):
            progress.begin(hands.old, back_name(work.trip.tenant_id), end)
    return seen


def _compared(work: HandOver, hands: _Hands, duty: Duty | None = None) -> Sequence[Difference]:
    tenant_id = work.trip.tenant_id
    with at_source(hands.old):
        here = sums(hands.old, work.old.home.schema, work.tables, tenant_id, duty=duty)
    with at_target(hands.new_view):
        there = sums(hands.new_view, work.new.home.schema, work.tables, tenant_id, duty=duty)
    return differences(here, there)


def _switch(work: HandOver, compared: bool, thaw: Callable[[], None]) -> None:
    """The point of no return: one transaction, whose route says that the tenant lives in the new home.

    Thaws when it fails before its commit. What became of a commit whose answer is lost, whoever locks next will see.
    """
    switch = Switch(
        tenant_id=work.trip.tenant_id,
        move_id=work.trip.id,
        phase=Phase.SWITCHED if work.forth else Phase.RETURNED,
        epoch=work.trip.epoch,
        old=work.old.home.id,
        new=work.new.home.id,
        model=Model(work.new.home.model),
        # What is compared after this may be cut off.
        verified=True if compared else None,
    )
    committing = False
    try:
        with switched(work.held, switch) as found:
            _refuse_unless_it_may(work, switch, found)
            committing = True
    except BaseException:
        if not committing:
            thaw()
        raise


def _refuse_unless_it_may(work: HandOver, switch: Switch, found: Found) -> None:
    if work.forth and found.cancel_asked:
        raise CancelledError
    enter(found.phase, switch.phase)
    if work.forth and not found.same_revision:
        raise RouteChangedError("the two homes are not at the same revision any more")
    if not found.led:
        raise RouteChangedError
