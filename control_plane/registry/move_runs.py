"""Queries on runs of many moves: which are open, what belongs to each, how far it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from control_plane.domain.errors import NotFoundError
from control_plane.domain.moving import MOVING, PASSED, Phase
from control_plane.registry.moves import KEPT, LEFT
from control_plane.registry.tables import DatabaseRow, HomeRow, MoveRow, MoveRunRow, TenantRow

DRAIN, REBALANCE = "drain", "rebalance"
OPEN, DONE, INCOMPLETE, CANCELLED = "open", "done", "incomplete", "cancelled"


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is."""

    moved: int
    """Those that live elsewhere now."""
    moving: int
    failed: int
    """Those whose moves were called off."""
    left: int
    """Of a drain, those that live on the server; of a rebalance, those that have not begun to move."""
    kept: int
    """Of a drain, homes there that nobody lives in any more, and that are kept for a while."""


def find_open(session: Session, kind: str, server: str | None = None, *, lock: bool = True) -> MoveRunRow | None:
    """The open run of that kind; of drains, that server's."""
    query = select(MoveRunRow).where(MoveRunRow.kind == kind, MoveRunRow.state == OPEN)
    if server is not None:
        query = query.where(MoveRunRow.server == server)
    query = query.limit(1)
    return session.scalars(query.with_for_update() if lock else query).one_or_none()


def open_ids(session: Session) -> Sequence[UUID]:
    """Those that are open, oldest first."""
    return session.scalars(select(MoveRunRow.id).where(MoveRunRow.state == OPEN).order_by(MoveRunRow.id)).all()


def claim(session: Session, run_id: UUID) -> MoveRunRow | None:
    """The run, locked; None when it is not open, or somebody else has locked it."""
    query = select(MoveRunRow).where(MoveRunRow.id == run_id, MoveRunRow.state == OPEN)
    return session.scalars(query.with_for_update(skip_locked=True)).one_or_none()


def get(session: Session, run_id: UUID) -> MoveRunRow:
    """The run of that id as it is now, or NotFoundError."""
    row = session.get(MoveRunRow, run_id, populate_existing=True)
    if row is None:
        raise NotFoundError("there is no such run of moves")
    return row


def newest(session: Session, limit: int) -> Sequence[MoveRunRow]:
    """The newest runs, newest first."""
    return session.scalars(select(MoveRunRow).order_by(MoveRunRow.id.desc()).limit(limit)).all()


def moves_of(session: Session, run_id: UUID) -> Sequence[tuple[MoveRow, str]]:
    """Its moves with the tenants' slugs, oldest first."""
    query = select(MoveRow, TenantRow.slug).join(TenantRow, TenantRow.id == MoveRow.tenant_id)
    query = query.where(MoveRow.run_id == run_id).order_by(MoveRow.id).execution_options(populate_existing=True)
    return [(row, slug) for row, slug in session.execute(query)]


def busy(session: Session) -> Counter[str]:
    """How many tenants are on their way from or to each server, whoever wanted it."""
    ends = select(MoveRow.id, DatabaseRow.server).join(
        HomeRow, (HomeRow.id == MoveRow.source_id) | (HomeRow.id == MoveRow.target_id)
    )
    placed = ends.join(DatabaseRow, DatabaseRow.id == HomeRow.database_id).where(MoveRow.phase.in_(MOVING))
    wanted = select(MoveRow.id, MoveRow.server).where(
        MoveRow.phase.in_(MOVING), MoveRow.target_id.is_(None), MoveRow.server.is_not(None)
    )
    found = set(session.execute(placed)) | set(session.execute(wanted))
    return Counter(server for _, server in found if server is not None)


def progress(session: Session, row: MoveRunRow) -> Progress:
    """Counted now."""
    phases = [Phase(move.phase) for move, _ in moves_of(session, row.id)]
    homes = _homes_on(session, row.server) if row.server is not None else {}
    lived_in = sum(number for state, number in homes.items() if state not in (KEPT, LEFT))
    return Progress(
        moved=sum(phase in PASSED and phase not in (Phase.RETURNING, Phase.RETURNED) for phase in phases),
        moving=sum(phase in MOVING for phase in phases),
        failed=sum(phase is Phase.CALLED_OFF for phase in phases),
        left=lived_in if row.kind == DRAIN else len(row.journeys) - len(phases),
        kept=homes.get(KEPT, 0),
    )


def _homes_on(session: Session, server: str) -> dict[str, int]:
    query = (
        select(HomeRow.state, func.count())
        .join(DatabaseRow, DatabaseRow.id == HomeRow.database_id)
        .where(DatabaseRow.server == server)
        .group_by(HomeRow.state)
    )
    return dict(session.execute(query).all())
