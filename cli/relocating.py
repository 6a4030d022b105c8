"""Runs of many moves as commands show them, before and while they go on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any, TypedDict
from uuid import UUID

from sqlalchemy.orm import Session

from cli import output
from cli.commands.places import in_bytes
from cli.moving import MoveShown, filling, shown
from cli.waiting import SILENCE_S, pause
from cli.wiring import Platform
from control_plane.domain.moving import Phase
from control_plane.domain.relocation import seconds_for
from control_plane.registry import move_runs
from control_plane.registry.engine import transaction
from control_plane.registry.move_runs import OPEN
from control_plane.registry.tables import MoveRunRow
from control_plane.tenants.relocating import Outlook

POLL_S = 0.2


class JourneyShown(TypedDict):
    """One who would move."""

    tenant: str
    model: str
    source: str
    target: str
    bytes: int
    """As far as is known: of a pool or bridge, one tenant's share of it."""
    reason: str


class OutlookShown(TypedDict):
    """What a run would do now."""

    moves: list[JourneyShown]
    stays: list[dict[str, str]]
    """Who cannot move, and why."""
    bytes: int
    seconds: float


class RunShown(TypedDict):
    """A run, and how far it is."""

    id: str
    kind: str
    server: str | None
    actor: str
    state: str
    at_once: int
    undo_window_s: int
    allow_freeze: bool
    moved: int
    moving: int
    failed: int
    left: int
    kept: int
    reason: str | None
    stays: list[dict[str, Any]]
    created_at: datetime
    ended_at: datetime | None


def outlook_shown(outlook: Outlook, at_once: int) -> OutlookShown:
    """The plan as data."""
    return OutlookShown(
        moves=[
            JourneyShown(
                tenant=step.resident.slug,
                model=str(step.resident.model),
                source=step.resident.server,
                target=step.to,
                bytes=step.resident.bytes,
                reason=step.reason,
            )
            for step in outlook.journeys
        ],
        stays=[{"tenant": step.resident.slug, "reason": step.reason} for step in outlook.stays],
        bytes=sum(step.resident.bytes for step in outlook.journeys),
        seconds=seconds_for(outlook.journeys, at_once),
    )


def print_outlook(found: OutlookShown) -> None:
    """The plan for a person: who goes where, who stays, how much and how long."""
    if found["moves"]:
        output.print_table(
            ("tenant", "model", "from", "to", "size", "because"),
            [
                (each["tenant"], each["model"], each["source"], each["target"], in_bytes(each["bytes"]), each["reason"])
                for each in found["moves"]
            ],
        )
    for stay in found["stays"]:
        output.say(f"{stay['tenant']} stays: {stay['reason']}")
    number, size = output.counted(len(found["moves"]), "tenant"), in_bytes(found["bytes"])
    output.say(f"{number}, {size} bytes, about {found['seconds']} s, served all the time")


def run_shown(session: Session, row: MoveRunRow) -> RunShown:
    """The run as it is now."""
    found = move_runs.progress(session, row)
    return RunShown(
        id=str(row.id),
        kind=row.kind,
        server=row.server,
        actor=row.actor,
        state=row.state,
        at_once=row.at_once,
        undo_window_s=row.undo_window_s,
        allow_freeze=row.allow_freeze,
        moved=found.moved,
        moving=found.moving,
        failed=found.failed,
        left=found.left,
        kept=found.kept,
        reason=row.reason,
        stays=row.stays,
        created_at=row.created_at,
        ended_at=row.ended_at,
    )


def follow(platform: Platform, run_id: UUID, *, as_json: bool) -> RunShown:
    """Wait until a run has ended, telling of each of its moves; the run as it is then."""
    with filling("tenants") as fill:
        now: RunShown | None = None
        told: dict[str, str] = {}
        for now, moves in _changes(platform, run_id):
            if as_json:
                for tenant, move in moves:
                    output.print_event({"event": "move", "tenant": tenant, **move})
                continue
            total = now["moved"] + now["left"]
            for tenant, move in moves:
                fill(now["moved"], total, new_line(told, tenant, move))
        assert now is not None
    if as_json:
        output.print_event({"event": "end", **now})
    return now


def new_line(told: dict[str, str], tenant: str, move: MoveShown) -> str | None:
    """What there is to say of a move, unless it was the last that was told of that tenant; `told` keeps it."""
    line = _line(tenant, move)
    if line is None or told.get(tenant) == line:
        return None
    told[tenant] = line
    return line


def _changes(platform: Platform, run_id: UUID) -> Iterator[tuple[RunShown, list[tuple[str, MoveShown]]]]:
    """The run whenever something has changed, with those of its moves that have."""
    seen: dict[str, MoveShown] = {}
    since = time.monotonic()
    told: str | None = ""
    while True:
        with transaction(platform.engine) as session:
            run = run_shown(session, move_runs.get(session, run_id))
            found = {slug: shown(session, move) for move, slug in move_runs.moves_of(session, run_id)}
        changed = [(slug, move) for slug, move in found.items() if seen.get(slug) != move]
        if changed or run["state"] != OPEN:
            seen, since = found, time.monotonic()
            yield run, changed
        elif time.monotonic() - since > SILENCE_S and told != run["reason"]:
            told = run["reason"]
            output.note(f"waits: {told}" if told else "nothing happens: is a worker running?")
        if run["state"] != OPEN:
            return
        pause(POLL_S)


def _line(tenant: str, move: MoveShown) -> str | None:
    phase, target = Phase(move["phase"]), move["target"]
    if phase is Phase.CALLED_OFF:
        return f"  {tenant} stays: {move['reason'] or 'its move was called off'}"
    if phase is Phase.KEPT and target is not None:
        waited = f", and waited {output.in_time(move['stall_ms'])}" if move["stall_ms"] is not None else ""
        return f"  {tenant} lives on {target['server']} ({target['database']}){waited}"
    return f"  {tenant} begins to move" if phase is Phase.REQUESTED else None
