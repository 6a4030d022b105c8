"""Queries on moves: which are open, which wait for somebody, and the lock of a tenant that moves."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
from sqlalchemy import Connection, Engine, func, or_, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, aliased

from control_plane.domain.errors import NotFoundError, UnavailableError
from control_plane.domain.moving import ENDED, MOVING, PASSED, Phase, enter
from control_plane.registry.engine import Together, driver_of, explained, explained_by_hand
from control_plane.registry.tables import DatabaseRow, HomeRow, MoveRow, TenantRow, WorkflowRow
from control_plane.registry.workflows import TIDY_MOVE

FILLING, CURRENT, KEPT, LEFT = "filling", "current", "kept", "left"
"""States of homes; see HomeRow."""
_LOCKS_OF_TENANTS = 47
"""Keeps these advisory locks apart from those of other uses."""
LOCK_WAIT_S = 10.0
LOCK_POLL_S = 0.05


class MoveBusyError(UnavailableError):
    """Somebody else works on this tenant's move."""

    code = "move_busy"


@dataclass(frozen=True, kw_only=True)
class Held:
    """A tenant's lock, and the one connection that it ends with: what is committed on it was committed under it."""

    connection: Connection

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """One transaction on that very connection; ControlDatabaseError when it is lost, and the lock with it."""
        with (
            explained(),
            Session(self.connection, expire_on_commit=False, join_transaction_mode="control_fully") as session,
            session.begin(),
        ):
            yield session

    @contextmanager
    def together(self, statements: Together, **given: object) -> Iterator[Sequence[Sequence[Any]]]:
        """One transaction that begins with these and is committed at the block's end: a round trip each.

        Yields the rows that each brought. ControlDatabaseError, psycopg.Error.
        """
        driver = driver_of(self.connection)
        # Else psycopg begins one by itself, and waits for that.
        driver.autocommit = True
        try:
            yield statements.send(self.connection, **given)
            with explained_by_hand():
                driver.commit()
        finally:
            with suppress(psycopg.Error):
                driver.rollback()
                driver.autocommit = False


@contextmanager
def holding(engine: Engine, tenant_id: UUID, *, wait_s: float = LOCK_WAIT_S) -> Iterator[Held]:
    """Be the one who works on the tenant's move for as long as the block lasts; MoveBusyError while another does.

    The lock ends with its connection: whoever has it knows that nothing of whoever had it before is still to come.
    """
    with explained():
        connection = engine.connect()
    try:
        connection.detach()
        _lock(connection, tenant_id, time.monotonic() + wait_s)
        yield Held(connection=connection)
    finally:
        try:
            connection.close()
        except SQLAlchemyError:
            connection.invalidate()


def _lock(connection: Connection, tenant_id: UUID, until: float) -> None:
    lock = select(func.pg_try_advisory_lock(func.hashtextextended(str(tenant_id), _LOCKS_OF_TENANTS)))
    while True:
        with explained():
            got = connection.scalar(lock)
            connection.commit()
        if got:
            return
        if time.monotonic() > until:
            raise MoveBusyError
        time.sleep(LOCK_POLL_S)


def add(session: Session, row: MoveRow) -> None:
    """Record a move. A second open one of a tenant is an IntegrityError."""
    session.add(row)
    session.flush()


def get(session: Session, move_id: UUID, *, lock: bool = False) -> MoveRow:
    """The move of that id as it is now, or NotFoundError."""
    row = session.get(MoveRow, move_id, with_for_update=lock or None, populate_existing=True)
    if row is None:
        raise NotFoundError("there is no such move")
    return row


def find(session: Session, move_id: UUID) -> MoveRow | None:
    """The move of that id."""
    return session.get(MoveRow, move_id)


def open_of(session: Session, tenant_id: UUID, *, lock: bool = False) -> MoveRow | None:
    """The tenant's move that has not ended."""
    query = select(MoveRow).where(MoveRow.tenant_id == tenant_id, MoveRow.phase.not_in(ENDED))
    return session.scalars(query.with_for_update() if lock else query).one_or_none()


def is_on_its_way(session: Session, tenant_id: UUID) -> bool:
    """Whether the tenant is between two homes, served or suspended. Whoever has locked the tenant can rely on it."""
    query = select(func.count()).where(MoveRow.tenant_id == tenant_id, MoveRow.phase.in_(MOVING))
    return session.scalars(query).one() > 0


def of_tenant(session: Session, tenant_id: UUID, limit: int) -> Sequence[MoveRow]:
    """A tenant's newest moves, newest first."""
    query = select(MoveRow).where(MoveRow.tenant_id == tenant_id)
    return session.scalars(query.order_by(MoveRow.id.desc()).limit(limit)).all()


def change_phase(row: MoveRow, wanted: Phase) -> None:
    """Take a move on; PhaseError when the table does not allow it."""
    row.phase = str(enter(Phase(row.phase), wanted))


def record_progress(session: Session, move_id: UUID, *, rows: int, bytes_: int) -> bool:
    """Tell how much is copied; whether somebody wants the move cancelled."""
    query = update(MoveRow).where(MoveRow.id == move_id).values(rows=rows, bytes=bytes_)
    return bool(session.scalar(query.returning(MoveRow.cancel_asked)))


def on_their_way(session: Session, database_id: UUID | None = None) -> Sequence[tuple[MoveRow, str]]:
    """Moves whose tenant is on its way, with its slug, oldest first; of one database, those out of it or into it."""
    query = (
        select(MoveRow, TenantRow.slug)
        .join(TenantRow, TenantRow.id == MoveRow.tenant_id)
        .where(MoveRow.phase.in_(MOVING))
        .order_by(MoveRow.id)
    )
    if database_id is not None:
        ends = select(HomeRow.id).where(HomeRow.database_id == database_id)
        query = query.where(or_(MoveRow.source_id.in_(ends), MoveRow.target_id.in_(ends)))
    return [(row, slug) for row, slug in session.execute(query)]


def open_ones(session: Session) -> Sequence[tuple[MoveRow, str, timedelta, timedelta | None]]:
    """Every move that has not ended, oldest first: with the tenant's slug, how long it has been open, and for how long
    its old home ought to have gone.
    """
    now = func.clock_timestamp()
    query = (
        select(MoveRow, TenantRow.slug, now - MoveRow.created_at, now - MoveRow.undo_until)
        .join(TenantRow, TenantRow.id == MoveRow.tenant_id)
        .where(MoveRow.phase.not_in(ENDED))
        .order_by(MoveRow.id)
    )
    return [(row, slug, age, overdue) for row, slug, age, overdue in session.execute(query)]


def with_a_way_back(session: Session, move_id: UUID | None = None) -> Sequence[UUID]:
    """Moves that can be taken back until their time has come, oldest first; where the homes differ, it never comes.

    Of one move, whether it is among them.
    """
    query = select(MoveRow.id).where(
        MoveRow.phase == str(Phase.KEPT),
        or_(MoveRow.undo_until > func.now(), MoveRow.undo_until.is_(None) & MoveRow.verified.is_(False)),
        MoveRow.revision.is_not(None),
    )
    if move_id is not None:
        query = query.where(MoveRow.id == move_id)
    return session.scalars(query.order_by(MoveRow.id)).all()


def waiting(session: Session, again_after: timedelta, limit: int) -> Sequence[MoveRow]:
    """Open moves that nobody works on and that are to go on by now, locked.

    Those that are kept, when their time has come; others when what worked on them has ended, or failed so long ago: a
    second at first, twice as long each time, and `again_after` at most. Those that somebody else has locked are left
    to them.
    """
    failures = aliased(WorkflowRow)
    failed = select(func.count()).where(
        failures.subject == MoveRow.id, failures.kind == TIDY_MOVE, failures.state == "failed"
    )
    rest = func.least(again_after, timedelta(seconds=1) * func.power(2, func.least(failed.scalar_subquery(), 16)))
    idle = or_(
        WorkflowRow.id.is_(None),
        WorkflowRow.state == "done",
        (WorkflowRow.state == "failed") & (WorkflowRow.ended_at < func.now() - rest),
    )
    kept = MoveRow.phase == str(Phase.KEPT)
    due = or_(
        kept & (MoveRow.undo_until <= func.now()),
        MoveRow.phase.not_in(ENDED | {Phase.KEPT}),
    )
    query = (
        select(MoveRow)
        .outerjoin(WorkflowRow, WorkflowRow.id == MoveRow.workflow_id)
        .where(due, idle)
        .order_by(MoveRow.id)
        .limit(limit)
    )
    return session.scalars(query.with_for_update(of=MoveRow, skip_locked=True)).all()


@dataclass(frozen=True, kw_only=True)
class End:
    """One end of a move, as people name it."""

    server: str
    database: str
    schema: str
    model: str


def end_of(session: Session, home_id: UUID | None) -> End | None:
    """The place of that home."""
    query = select(DatabaseRow.server, DatabaseRow.name, HomeRow.schema, HomeRow.model).join(
        HomeRow, HomeRow.database_id == DatabaseRow.id
    )
    row = session.execute(query.where(HomeRow.id == home_id)).one_or_none()
    return End(server=row[0], database=row[1], schema=row[2], model=row[3]) if row is not None else None


def has_passed(row: MoveRow) -> bool:
    """Whether the route has been switched."""
    return Phase(row.phase) in PASSED
