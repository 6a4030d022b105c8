"""Queries on the fleet: its targets, the revisions wanted of them, and the ledger of runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Engine, Text, cast, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from control_plane.registry.tables import (
    DatabaseRow,
    FleetRow,
    MigrationRunRow,
    MigrationTargetRow,
    TargetRow,
)

_LOCKS_OF_RUNS = 43
"""Keeps these advisory locks apart from those of other uses."""


@dataclass(frozen=True, kw_only=True)
class Revisions:
    """The revisions that new homes are built at."""

    home: str
    tenant: str


def wanted(session: Session, *, hold: bool = False) -> Revisions:
    """What new homes are built at now; with `hold`, until the caller's transaction ends."""
    query = select(FleetRow)
    row = session.execute(query.with_for_update(read=True) if hold else query).scalar_one()
    return Revisions(home=row.home_revision, tenant=row.tenant_revision)


def set_wanted(session: Session, revisions: Revisions, *, replace: bool) -> None:
    """Say what new homes are built at; without `replace`, only if nobody has said so before."""
    values = {"home_revision": revisions.home, "tenant_revision": revisions.tenant}
    statement = insert(FleetRow).values(only=True, **values)
    session.execute(
        statement.on_conflict_do_update(index_elements=["only"], set_=values)
        if replace
        else statement.on_conflict_do_nothing()
    )


def targets(session: Session) -> Sequence[tuple[DatabaseRow, TargetRow]]:
    """Every target of the tenant chain with its database, by server, database and schema."""
    query = select(DatabaseRow, TargetRow).join(TargetRow, TargetRow.database_id == DatabaseRow.id)
    ordered = query.order_by(DatabaseRow.server, DatabaseRow.name, TargetRow.schema)
    return [(database, target) for database, target in session.execute(ordered)]


def set_home_revision(session: Session, database_id: UUID, revision: str) -> None:
    """Record the revision of a database's tenancy schema."""
    session.execute(update(DatabaseRow).where(DatabaseRow.id == database_id).values(home_revision=revision))


def set_target_revision(session: Session, database_id: UUID, schema: str, revision: str | None) -> None:
    """Record the revision seen at a target; one that is gone from the roll by now stays gone."""
    session.execute(
        update(TargetRow)
        .where(TargetRow.database_id == database_id, TargetRow.schema == schema)
        .values(revision=revision, checked_at=func.now())
    )


@contextmanager
def shown_alive(engine: Engine, run_id: UUID) -> Iterator[None]:
    """Hold a lock for a run that goes on in this block: it ends with its connection, and so with a killed process."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.detach()  # its end must end the session, and with it the lock
        connection.execute(select(func.pg_advisory_lock(func.hashtextextended(str(run_id), _LOCKS_OF_RUNS))))
        yield


def close_dead_runs(session: Session) -> None:
    """Record runs whose process was killed as interrupted: nobody holds their lock."""
    lock = func.hashtextextended(cast(MigrationRunRow.id, Text), _LOCKS_OF_RUNS)
    session.execute(
        update(MigrationRunRow)
        .where(MigrationRunRow.state == "running", func.pg_try_advisory_xact_lock(lock))
        .values(state="interrupted", ended_at=func.now())
    )


def start_run(session: Session, run_id: UUID, to_revision: str, actor: str) -> None:
    """Open a run in the ledger."""
    close_dead_runs(session)
    session.add(MigrationRunRow(id=run_id, to_revision=to_revision, actor=actor, state="running"))
    session.flush()


def plan_targets(session: Session, rows: Iterable[MigrationTargetRow]) -> None:
    """Write what a run is going to do before it does any of it."""
    session.add_all(rows)


def record_target(
    session: Session, row: MigrationTargetRow, state: str, *, error: str | None, duration_ms: int
) -> None:
    """Write what became of one target."""
    session.execute(
        update(MigrationTargetRow)
        .where(
            MigrationTargetRow.run_id == row.run_id,
            MigrationTargetRow.chain == row.chain,
            MigrationTargetRow.database_id == row.database_id,
            MigrationTargetRow.schema == row.schema,
        )
        .values(state=state, error=error, duration_ms=duration_ms)
    )


def end_run(session: Session, run_id: UUID, state: str) -> None:
    """Close a run in the ledger."""
    session.execute(
        update(MigrationRunRow).where(MigrationRunRow.id == run_id).values(state=state, ended_at=func.now())
    )


def runs(session: Session, limit: int) -> Sequence[tuple[MigrationRunRow, dict[str, int]]]:
    """The newest runs, each with its targets counted by state."""
    close_dead_runs(session)
    newest = session.scalars(select(MigrationRunRow).order_by(MigrationRunRow.id.desc()).limit(limit)).all()
    query = (
        select(MigrationTargetRow.run_id, MigrationTargetRow.state, func.count())
        .where(MigrationTargetRow.run_id.in_([run.id for run in newest]))
        .group_by(MigrationTargetRow.run_id, MigrationTargetRow.state)
    )
    counted: dict[UUID, dict[str, int]] = {}
    for run_id, state, count in session.execute(query):
        counted.setdefault(run_id, {})[state] = count
    return [(run, counted.get(run.id, {})) for run in newest]


def failures(session: Session, run_id: UUID) -> Sequence[tuple[MigrationTargetRow, str]]:
    """The failed targets of a run, each with its database's name."""
    query = (
        select(MigrationTargetRow, DatabaseRow.name)
        .join(DatabaseRow, DatabaseRow.id == MigrationTargetRow.database_id)
        .where(MigrationTargetRow.run_id == run_id, MigrationTargetRow.state == "failed")
    )
    return [(row, name) for row, name in session.execute(query)]
