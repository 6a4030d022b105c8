"""Moving many tenants, a few at a time: everybody off a server, or some for servers to be used evenly.

What is wanted is a row (`move_runs`); whichever worker looks first begins the next moves of it (`provisioning.due`), so
that nobody has to wait for it. Each function works inside the caller's transaction. Of the locks a run's row comes
first, before a tenant's: see docs/adr/0014 for the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from sqlalchemy import func
from sqlalchemy.orm import Session

from control_plane import audit
from control_plane.domain.errors import ConflictError, CopyholdError, InvalidError
from control_plane.domain.ids import new_id
from control_plane.domain.moving import ENDED, MOVES_AT_ONCE_MAX, MOVING, RULES, UNDO_WINDOW_MAX, Phase
from control_plane.domain.placement import NoServerError
from control_plane.domain.relocation import Housing, Journey, Resident, Stay, emptying, evening_out
from control_plane.domain.server import ServerStatus
from control_plane.registry import housing, move_runs, moves, servers, tenants, warm
from control_plane.registry.move_runs import CANCELLED, DONE, DRAIN, INCOMPLETE, OPEN, REBALANCE
from control_plane.registry.placing import FullAt
from control_plane.registry.tables import MoveRow, MoveRunRow
from control_plane.registry.workflows import Workflows
from control_plane.tenants import moving
from control_plane.tenants.moving import WindowError

JOURNEYS_MAX = 1000
"""Of one rebalance."""
WAITED_FOR = 20
"""So many that cannot be begun with yet are enough: the next look may find another."""


class AtOnceError(InvalidError):
    """A server has 1 to 20 moves at once."""

    code = "moves_at_once"


class NoRunError(ConflictError):
    """No such run of moves is open."""

    code = "no_move_run"


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How many moves a server has at once, for how long each home that is left is kept, and by which ways they go."""

    at_once: int
    undo_window: timedelta
    allow_freeze: bool = False
    """Whether a tenant may be kept waiting for as long as its copy takes, where there is no other way."""

    def check(self) -> None:
        """AtOnceError or WindowError when that cannot be."""
        if not 1 <= self.at_once <= MOVES_AT_ONCE_MAX:
            raise AtOnceError
        if not timedelta(0) <= self.undo_window <= UNDO_WINDOW_MAX:
            raise WindowError


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What a run would do now."""

    journeys: list[Journey] = field(default_factory=list)
    stays: list[Stay] = field(default_factory=list)


def foresee_drain(session: Session, server: str, full_at: FullAt) -> Outlook:
    """Who would go where, and who nowhere, if that server were drained now. NotFoundError for an unknown one."""
    servers.server_named(session, server)
    steps = list(emptying(housing.read(session, full_at), server))
    return Outlook(
        journeys=[step for step in steps if isinstance(step, Journey)],
        stays=[step for step in steps if isinstance(step, Stay)],
    )


def foresee_rebalance(session: Session, full_at: FullAt, limit: int | None = None) -> Outlook:
    """Who would move for servers to be used evenly."""
    return Outlook(journeys=evening_out(housing.read(session, full_at, settled=True), _checked(limit)))


def stop_taking(session: Session, workflows: Workflows, name: str, actor: str) -> bool:
    """Put no new tenants on a server, and have its warm silos go; False when it took none before."""
    if servers.server_named(session, name).status is ServerStatus.DRAINING:
        return False
    servers.set_server_status(session, name, ServerStatus.DRAINING)
    audit.record(session, actor, "server.status", name, status=str(ServerStatus.DRAINING))
    session.flush()
    warm.replenish(session, workflows, name, actor)
    return True


def take_again(session: Session, workflows: Workflows, name: str, actor: str) -> bool:
    """Let a server take new tenants; False when it does. A drain that is open ends with it."""
    if servers.server_named(session, name).status is ServerStatus.ACTIVE:
        return False
    servers.set_server_status(session, name, ServerStatus.ACTIVE)
    audit.record(session, actor, "server.status", name, status=str(ServerStatus.ACTIVE))
    session.flush()
    warm.replenish(session, workflows, name, actor)
    return True


def drain(session: Session, workflows: Workflows, name: str, actor: str, pace: Pace) -> MoveRunRow:
    """Put no new tenants on a server, and have everybody who lives there moved away; the run that does.

    Repeating it goes on with the run that is open, at the pace given now. NotFoundError for an unknown server,
    ServerUnsettledError for one that is being added or removed.
    """
    pace.check()
    run = move_runs.find_open(session, DRAIN, name)
    stop_taking(session, workflows, name, actor)
    servers.server_row(session, name)
    # Not locked, for servers are by now: somebody has begun it a moment ago, at a pace of their own.
    if run is None and (begun := move_runs.find_open(session, DRAIN, name, lock=False)) is not None:
        return begun
    return _begun(session, run, DRAIN, actor, pace, server=name)


def rebalance(session: Session, actor: str, pace: Pace, full_at: FullAt, limit: int | None = None) -> MoveRunRow | None:
    """Have some tenants moved for servers to be used evenly, `limit` at most; None when they nearly are.

    While such a run is open, it is that one.
    """
    pace.check()
    run = move_runs.find_open(session, REBALANCE)
    if run is not None:
        return _begun(session, run, REBALANCE, actor, pace)
    found = foresee_rebalance(session, full_at, limit).journeys[:JOURNEYS_MAX]
    if not found:
        return None
    servers.all_servers(session, lock=True)
    if (begun := move_runs.find_open(session, REBALANCE, lock=False)) is not None:
        return begun
    journeys = [{"tenant_id": str(step.resident.id), "server": step.to} for step in found]
    return _begun(session, None, REBALANCE, actor, pace, journeys=journeys)


def cancel(session: Session, run: MoveRunRow, actor: str, *, call_off: bool) -> list[str]:
    """Begin no more moves of a run. Those under way go on; with `call_off` they end where they began.

    The slugs of those that are called off; who has arrived stays there.
    """
    called_off = []
    _end(session, run, CANCELLED, actor)
    for move, slug in move_runs.moves_of(session, run.id) if call_off else ():
        tenant = tenants.get(session, move.tenant_id, lock=True)
        if RULES[Phase(moves.get(session, move.id).phase)].can_cancel:
            moving.cancel(session, tenant, actor)
            called_off.append(slug)
    return called_off


def cancel_drain(session: Session, workflows: Workflows, name: str, actor: str, *, call_off: bool) -> list[str]:
    """Have a server that is being drained take tenants again; see `cancel`. Who has moved away stays there."""
    servers.server_named(session, name)
    run = move_runs.find_open(session, DRAIN, name)
    called_off = cancel(session, run, actor, call_off=call_off) if run is not None else []
    if not take_again(session, workflows, name, actor) and run is None:
        raise NoRunError(f"{name} is not being drained")
    return called_off


def cancel_rebalance(session: Session, actor: str, *, call_off: bool) -> list[str]:
    """See `cancel`; NoRunError when there is nothing to cancel."""
    run = move_runs.find_open(session, REBALANCE)
    if run is None:
        raise NoRunError("nobody is being moved for servers to be used evenly")
    return cancel(session, run, actor, call_off=call_off)


def go_on(session: Session, workflows: Workflows, run_id: UUID, full_at: FullAt) -> bool:
    """Begin one move of an open run, or end the run when there is none left; whether to look for another at once."""
    run = move_runs.claim(session, run_id)
    if run is None:
        return False
    if run.server is not None and servers.server_named(session, run.server).status is not ServerStatus.DRAINING:
        _end(session, run, CANCELLED, run.actor, reason=f"{run.server} takes tenants again")
        return False
    ours = move_runs.moves_of(session, run.id)
    busy = move_runs.busy(session)
    if run.server is not None and busy[run.server] >= run.at_once:
        return False
    taken = {move.tenant_id for move, _ in ours}
    looked = _look(session, workflows, run, _steps(run, housing.read(session, full_at), taken), busy, full_at)
    if looked is None:
        run.reason = None
        return True
    open_ones = [move for move, _ in ours if Phase(move.phase) not in ENDED]
    waits = looked.waits + (looked.unplaced if open_ones else [])
    run.reason = "{tenant}: {reason}".format(**waits[0]) if waits else None
    if not waits and not any(Phase(move.phase) in MOVING for move in open_ones):
        failed = [_stayed(move, slug) for move, slug in ours if Phase(move.phase) is Phase.CALLED_OFF]
        run.stays = failed + looked.stays + looked.unplaced
        _end(session, run, INCOMPLETE if run.stays else DONE, run.actor)
    return False


@dataclass(frozen=True, kw_only=True)
class _Looked:
    """Who was not begun with, and why: `waits` passes by itself, `unplaced` may, when other homes have gone."""

    waits: list[dict[str, str]] = field(default_factory=list)
    unplaced: list[dict[str, str]] = field(default_factory=list)
    stays: list[dict[str, str]] = field(default_factory=list)


def _look(
    session: Session,
    workflows: Workflows,
    run: MoveRunRow,
    steps: Iterable[Journey | Stay],
    busy: Mapping[str, int],
    full_at: FullAt,
) -> _Looked | None:
    """None when the move of one of them was begun."""
    looked = _Looked()
    for step in steps:
        resident = step.resident
        if isinstance(step, Stay):
            whose = looked.waits if resident.passing else looked.unplaced if resident.obstacle is None else looked.stays
            whose.append(_said(resident, step.reason))
        elif any(busy.get(server, 0) >= run.at_once for server in (resident.server, step.to)):
            looked.waits.append(_said(resident, f"{step.to} has {run.at_once} moves already"))
        else:
            try:
                _begin(session, workflows, run, step, full_at)
            except NoServerError as error:
                looked.unplaced.append(_said(resident, error.message))
            except CopyholdError as error:
                looked.waits.append(_said(resident, error.message))
            else:
                return None
        if len(looked.waits) >= WAITED_FOR:
            break
    return looked


def _steps(run: MoveRunRow, found: Housing, tried: set[UUID]) -> Iterator[Journey | Stay]:
    """What is left to do of it: a tenant whose move was called off is not asked again by the same run."""
    if run.server is not None:
        steps: Iterable[Journey | Stay] = emptying(found, run.server)
    else:
        to = {UUID(each["tenant_id"]): str(each["server"]) for each in run.journeys}
        steps = (_step(each, to[each.id]) for each in found.residents if each.id in to and each.server != to[each.id])
    return (step for step in steps if step.resident.id not in tried)


def _step(resident: Resident, to: str) -> Journey | Stay:
    if resident.obstacle is not None:
        return Stay(resident=resident, reason=resident.obstacle)
    return Journey(resident=resident, to=to, reason="for servers to be used evenly")


def _begin(session: Session, workflows: Workflows, run: MoveRunRow, step: Journey, full_at: FullAt) -> None:
    """Have one move. What `moving.request` raises when it cannot be now; then nothing was changed."""
    with session.begin_nested():
        row = moving.request(
            session,
            workflows,
            tenants.get(session, step.resident.id, lock=True),
            run.actor,
            model=step.resident.model,
            server=step.to,
            undo_window=timedelta(seconds=run.undo_window_s),
            allow_freeze=run.allow_freeze,
            full_at=full_at,
        )
        row.run_id = run.id


def _begun(
    session: Session,
    run: MoveRunRow | None,
    kind: str,
    actor: str,
    pace: Pace,
    *,
    server: str | None = None,
    journeys: list[dict[str, str]] | None = None,
) -> MoveRunRow:
    if run is None:
        run = MoveRunRow(id=new_id(), kind=kind, server=server, actor=actor, state=OPEN, journeys=journeys or [])
        session.add(run)
        audit.record(session, actor, f"server.{kind}", server or "all", tenants=len(run.journeys) or None)
    run.at_once, run.undo_window_s = pace.at_once, round(pace.undo_window.total_seconds())
    run.allow_freeze = pace.allow_freeze
    session.flush()
    session.refresh(run)
    return run


def _end(session: Session, run: MoveRunRow, state: str, actor: str, *, reason: str | None = None) -> None:
    run.state, run.ended_at, run.reason = state, func.now(), reason
    audit.record(session, actor, f"server.{run.kind}_{state}", run.server or "all", stays=len(run.stays or ()))
    session.flush()


def _stayed(move: MoveRow, slug: str) -> dict[str, str]:
    return {"tenant": slug, "reason": move.reason or "its move was called off"}


def _said(resident: Resident, reason: str) -> dict[str, str]:
    return {"tenant": resident.slug, "reason": reason}


def _checked(limit: int | None) -> int | None:
    if limit is not None and limit < 1:
        raise InvalidError("say how many tenants may be moved, 1 or more")
    return limit
