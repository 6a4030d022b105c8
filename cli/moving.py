"""Moves as commands show them, and following one until it has arrived or is called off."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TypedDict
from uuid import UUID

from sqlalchemy.orm import Session

from cli import output
from cli.waiting import SILENCE_S, GaveUpError, NotYetError, pause
from cli.wiring import Platform
from control_plane.domain.moving import MOVING, Phase
from control_plane.registry import moves
from control_plane.registry.engine import transaction
from control_plane.registry.moves import End
from control_plane.registry.tables import MoveRow

WAIT_S = 24 * 3600.0
Fill = Callable[[int, int | None, str | None], None]
"""So many are done of so many; the line, if there is one, is shown."""


class EndShown(TypedDict):
    """One end of a move."""

    server: str
    database: str
    schema: str
    model: str


class MoveShown(TypedDict):
    """A move; what is not known yet is null."""

    id: str
    tenant_id: str
    phase: str
    source: EndShown | None
    target: EndShown | None
    rows: int
    rows_total: int | None
    bytes: int
    recipe: str | None
    allow_freeze: bool
    expected_stall_s: float | None
    note: str | None
    tries: int
    stall_ms: float | None
    verified: bool | None
    reason: str | None
    actor: str
    workflow_id: str | None
    undo_until: datetime | None
    created_at: datetime
    switched_at: datetime | None
    ended_at: datetime | None


def shown(session: Session, row: MoveRow) -> MoveShown:
    """The row and its two ends."""
    return MoveShown(
        id=str(row.id),
        tenant_id=str(row.tenant_id),
        phase=row.phase,
        source=_end(moves.end_of(session, row.source_id)),
        target=_end(moves.end_of(session, row.target_id)),
        rows=row.rows,
        rows_total=row.rows_total,
        bytes=row.bytes,
        recipe=row.recipe,
        allow_freeze=row.allow_freeze,
        expected_stall_s=row.expected_stall_s,
        note=row.note,
        tries=row.tries,
        stall_ms=row.stall_ms,
        verified=row.verified,
        reason=row.reason,
        actor=row.actor,
        workflow_id=row.workflow_id,
        undo_until=row.undo_until,
        created_at=row.created_at,
        switched_at=row.switched_at,
        ended_at=row.ended_at,
    )


def changes(platform: Platform, move_id: UUID, *, wait_s: float = WAIT_S) -> Iterator[tuple[MoveShown, float]]:
    """The move each time that it has changed, and for how long nothing has, until it is on its way no more.

    NotYetError after `wait_s`.
    """
    seen: MoveShown | None = None
    began = since = time.monotonic()
    while True:
        with transaction(platform.engine) as session:
            now = shown(session, moves.get(session, move_id))
        if now != seen:
            seen, since = now, time.monotonic()
            yield now, 0.0
        elif time.monotonic() - since > SILENCE_S:
            yield now, time.monotonic() - since
        if Phase(now["phase"]) not in MOVING:
            return
        if time.monotonic() - began > wait_s:
            raise NotYetError(f"not done after {wait_s:.0f} s; it goes on as soon as a worker can")
        pause()


def refuse_unless(move: MoveShown, wanted: Collection[Phase]) -> None:
    """GaveUpError, with the reason, for one that has ended in another phase."""
    if Phase(move["phase"]) not in wanted:
        ended = move["phase"].replace("_", " ")
        raise GaveUpError(f"the move is {ended}: {move['reason'] or 'the worker has a log that says why'}")


@contextmanager
def filling(title: str) -> Iterator[Fill]:
    """Shows how much of a growing number is done: a bar on a terminal, above it the lines told; elsewhere these."""
    if not sys.stdout.isatty():
        yield lambda _done, _total, line: output.say(line) if line is not None else None
        return
    # Imported here: only a terminal needs it.
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), transient=True
    ) as bar:
        task = bar.add_task(title, total=None)

        def fill(done: int, total: int | None, line: str | None) -> None:
            if line is not None:
                bar.console.print(line, markup=False, highlight=False)
            bar.update(task, completed=done, total=max(done, total) if total is not None else None)

        yield fill


def _end(end: End | None) -> EndShown | None:
    if end is None:
        return None
    return EndShown(server=end.server, database=end.database, schema=end.schema, model=end.model)
