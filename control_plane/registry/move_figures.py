"""How many moves are open and what they keep, as numbers: for metrics. Tenants are counted, never named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session

from control_plane.domain.moving import ENDED, PASSED, Phase, Recipe
from control_plane.registry.moves import KEPT
from control_plane.registry.tables import DatabaseRow, HomeRow, MoveRow, ProgressRow, ServerRow, WorkflowRow
from control_plane.registry.workflows import MOVE


@dataclass(frozen=True, kw_only=True)
class InPhase:
    """Open moves of one phase."""

    count: int
    oldest_s: float
    """Since the oldest of them was asked for."""


@dataclass(frozen=True, kw_only=True)
class Slots:
    """Replication slots of moves on one server, when a worker last looked."""

    count: int
    wal_bytes: int
    """How much of its log the server keeps for the one that is furthest behind."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """All of it. A phase without a move is missing."""

    phases: Mapping[Phase, InPhase]
    kept_homes: int
    slots: Mapping[str, Slots]


def figures(session: Session) -> Figures:
    """As the roll has them now."""
    age = func.extract("epoch", func.max(func.clock_timestamp() - MoveRow.created_at))
    phases = select(MoveRow.phase, func.count(), age).where(MoveRow.phase.not_in(ENDED)).group_by(MoveRow.phase)
    kept = select(func.count()).select_from(HomeRow).where(HomeRow.state == KEPT)
    slots = select(ServerRow.name, ServerRow.move_slots, ServerRow.move_wal_bytes)
    return Figures(
        phases={
            Phase(phase): InPhase(count=count, oldest_s=float(oldest))
            for phase, count, oldest in session.execute(phases)
        },
        kept_homes=session.scalars(kept).one(),
        slots={name: Slots(count=count, wal_bytes=size) for name, count, size in session.execute(slots)},
    )


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """What a move took that has arrived."""

    rows: int
    bytes: int
    """As they travelled."""
    seconds: float
    """Of its steps until the tenant was served by the new home; waiting for a worker apart."""
    stall_ms: float


def earlier(session: Session, limit: int) -> Sequence[Earlier]:
    """The newest moves that have arrived, newest first; none that was copied under freeze."""
    newest = (
        select(MoveRow.id, MoveRow.rows, MoveRow.bytes, MoveRow.stall_ms)
        .where(MoveRow.phase.in_(PASSED), MoveRow.stall_ms.is_not(None), MoveRow.recipe == Recipe.STREAM)
        .order_by(MoveRow.id.desc())
        .limit(limit)
        .subquery()
    )
    took = (
        select(newest, func.sum(ProgressRow.duration_ms))
        .join(WorkflowRow, (WorkflowRow.subject == newest.c.id) & (WorkflowRow.kind == MOVE))
        .join(ProgressRow, ProgressRow.workflow_id == WorkflowRow.id)
        .group_by(*newest.c)
        .order_by(newest.c.id.desc())
    )
    return [
        Earlier(rows=rows, bytes=size, seconds=float(ms) / 1000, stall_ms=stall_ms)
        for _, rows, size, stall_ms, ms in session.execute(took)
    ]


def servers_to_look_at(session: Session) -> Sequence[str]:
    """Servers on which there may be slots of moves: an end of an open one is there, or there were some last time."""
    ends = (
        select(DatabaseRow.server)
        .join(HomeRow, HomeRow.database_id == DatabaseRow.id)
        .join(MoveRow, (MoveRow.source_id == HomeRow.id) | (MoveRow.target_id == HomeRow.id))
        .where(MoveRow.phase.not_in(ENDED))
    )
    query = select(ServerRow.name).where(ServerRow.name.in_(ends) | (ServerRow.move_slots > 0))
    return session.scalars(query.order_by(ServerRow.name)).all()


def record_slots(session: Session, server: str, found: Slots) -> None:
    """What a worker has seen there."""
    values = {"move_slots": found.count, "move_wal_bytes": found.wal_bytes}
    changed = or_(ServerRow.move_slots != found.count, ServerRow.move_wal_bytes != found.wal_bytes)
    session.execute(update(ServerRow).where(ServerRow.name == server, changed).values(values))
