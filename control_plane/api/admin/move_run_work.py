"""What staff do to have many tenants moved, and see of it; each in one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from control_plane.api.admin.move_run_schemas import (
    CalledOff,
    Ending,
    JourneyOut,
    MoveEvent,
    MoveRunDetails,
    MoveRunList,
    MoveRunOut,
    NewPace,
    NewRebalance,
    OutlookOut,
    Rebalancing,
    StayOut,
)
from control_plane.api.admin.move_work import shown as move_shown
from control_plane.api.desk import Desk
from control_plane.domain.relocation import seconds_for
from control_plane.registry import move_runs
from control_plane.registry.tables import MoveRunRow
from control_plane.tenants import relocating
from control_plane.tenants.relocating import Outlook, Pace

LISTED = 50
TOLD = (
    "phase",
    "rows",
    "bytes",
    "tries",
    "target_id",
    "stall_ms",
    "verified",
    "reason",
    "note",
    "undo_until",
    "ended_at",
)
"""What of a move is told again when it has changed."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """A run, and those of its moves that have changed since the look before."""

    run: MoveRunOut
    moves: list[MoveEvent] = field(default_factory=list)
    seen: Mapping[UUID, tuple[Any, ...]]


def drain(session: Session, name: str, body: NewPace, desk: Desk) -> MoveRunOut:
    """The run, begun now or before."""
    pace = body.pace(desk.control.settings)
    return _shown(session, relocating.drain(session, desk.workflows, name, desk.actor, pace))


def preview_drain(session: Session, name: str, body: NewPace, desk: Desk) -> OutlookOut:
    """Who would go where, and who nowhere; NotFoundError for an unknown server."""
    settings = desk.control.settings
    return _foreseen(relocating.foresee_drain(session, name, settings.limits.full_at), body.pace(settings))


def cancel_drain(session: Session, name: str, body: Ending, desk: Desk) -> CalledOff:
    """Who does not move any more; the server takes tenants again."""
    found = relocating.cancel_drain(session, desk.workflows, name, desk.actor, call_off=body.call_off)
    return CalledOff(tenants=found)


def rebalance(session: Session, body: NewRebalance, desk: Desk) -> Rebalancing:
    """The run, begun now or before, if there is anything to do."""
    settings = desk.control.settings
    run = relocating.rebalance(session, desk.actor, body.pace(settings), settings.limits.full_at, body.max)
    return Rebalancing(run=_shown(session, run) if run is not None else None)


def preview_rebalance(session: Session, body: NewRebalance, desk: Desk) -> OutlookOut:
    """Who would go where."""
    settings = desk.control.settings
    return _foreseen(relocating.foresee_rebalance(session, settings.limits.full_at, body.max), body.pace(settings))


def cancel_rebalance(session: Session, body: Ending, desk: Desk) -> CalledOff:
    """Who does not move any more."""
    return CalledOff(tenants=relocating.cancel_rebalance(session, desk.actor, call_off=body.call_off))


def newest(session: Session) -> MoveRunList:
    """The newest runs."""
    return MoveRunList(items=[_shown(session, row) for row in move_runs.newest(session, LISTED)])


def details(session: Session, run_id: UUID) -> MoveRunDetails:
    """One run with its moves; NotFoundError for an unknown one."""
    run = _shown(session, move_runs.get(session, run_id))
    moves = [move_shown(session, move) for move, _ in move_runs.moves_of(session, run_id)]
    return MoveRunDetails(**run.model_dump(), moves=moves)


def look(session: Session, run_id: UUID, seen: Mapping[UUID, tuple[Any, ...]]) -> Look:
    """The run first and its moves then: of a run that is seen to have ended, no move is missed.

    `seen` is that of the look before.
    """
    run = _shown(session, move_runs.get(session, run_id))
    rows = move_runs.moves_of(session, run_id)
    now = {move.id: tuple(getattr(move, name) for name in TOLD) for move, _ in rows}
    changed = [(move, slug) for move, slug in rows if seen.get(move.id) != now[move.id]]
    told = [MoveEvent(tenant=slug, **move_shown(session, move).model_dump()) for move, slug in changed]
    return Look(run=run, moves=told, seen=now)


def _foreseen(outlook: Outlook, pace: Pace) -> OutlookOut:
    return OutlookOut(
        moves=[
            JourneyOut(
                tenant=step.resident.slug,
                model=step.resident.model,
                source=step.resident.server,
                target=step.to,
                bytes=step.resident.bytes,
                reason=step.reason,
            )
            for step in outlook.journeys
        ],
        stays=[StayOut(tenant=step.resident.slug, reason=step.reason) for step in outlook.stays],
        bytes=sum(step.resident.bytes for step in outlook.journeys),
        seconds=seconds_for(outlook.journeys, pace.at_once),
    )


def _shown(session: Session, row: MoveRunRow) -> MoveRunOut:
    found = move_runs.progress(session, row)
    counted = {name: getattr(found, name) for name in ("moved", "moving", "failed", "left", "kept")}
    own = {name: getattr(row, name) for name in MoveRunOut.model_fields if name not in counted}
    return MoveRunOut.model_validate(own | counted)
