"""Queries on the processes that serve: which revisions of the tenant tables each works with, and who is alive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from control_plane.registry.tables import ProcessRow

API, WORKER = "api", "worker"
ALIVE_S = 15.0
"""A process that has not been seen for longer counts as dead: five announcements in a row that did not come."""
FORGOTTEN_S = 600.0
"""The row of one that has been dead for longer is deleted."""


@dataclass(frozen=True, kw_only=True)
class Process:
    """A process as it announces itself."""

    id: UUID
    kind: str
    """API or WORKER."""
    place: str
    """Host name and process id."""
    code_version: str
    revisions: tuple[str, ...]
    """Those of the tenant tables that it works with, sorted."""
    started_at: datetime


def announce(
    session: Session, process: Process, roll_version: int | None = None, master_keys: Sequence[str] = ()
) -> None:
    """Enter the process, or say that it is alive still; one whose row was taken for dead is entered again."""
    now = {"roll_version": roll_version, "master_keys": list(master_keys)}
    statement = insert(ProcessRow).values(
        id=process.id,
        kind=process.kind,
        place=process.place,
        code_version=process.code_version,
        revisions=list(process.revisions),
        started_at=process.started_at,
        **now,
    )
    session.execute(statement.on_conflict_do_update(index_elements=["id"], set_={"seen_at": func.now(), **now}))


def leave(session: Session, process_id: UUID) -> None:
    """Take the process off the list: it has ended."""
    session.execute(delete(ProcessRow).where(ProcessRow.id == process_id))


def living(session: Session, now: datetime | None = None) -> Sequence[ProcessRow]:
    """Every process seen within ALIVE_S before `now` (the database's own clock without it), oldest first.

    One that is cut off from the control database counts as dead, although it goes on serving from memory.
    """
    query = select(ProcessRow).where(ProcessRow.seen_at > _before(ALIVE_S, now))
    return session.scalars(query.order_by(ProcessRow.kind, ProcessRow.started_at, ProcessRow.id)).all()


def behind(session: Session, version: int) -> Sequence[ProcessRow]:
    """Living API processes that do not say they serve by that version of the roll, or a later one."""
    return [row for row in living(session) if row.kind == API and (row.roll_version or 0) < version]


def without_key(session: Session, master_key: str) -> Sequence[ProcessRow]:
    """Living processes that do not have the master key of that id."""
    return [row for row in living(session) if master_key not in row.master_keys]


def with_other_keys(session: Session, master_key: str) -> Sequence[ProcessRow]:
    """Living processes that have other master keys than the one of that id."""
    return [row for row in living(session) if set(row.master_keys) - {master_key}]


def forget_dead(session: Session, now: datetime | None = None) -> None:
    """Delete the rows of processes that have been dead for so long that nobody asks what they were."""
    session.execute(delete(ProcessRow).where(ProcessRow.seen_at < _before(FORGOTTEN_S, now)))


def _before(seconds: float, now: datetime | None) -> ColumnElement[datetime] | datetime:
    age = timedelta(seconds=seconds)
    return func.now() - age if now is None else now - age
