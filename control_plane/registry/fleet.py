"""Queries on the fleet: its targets, the revisions wanted of them, and the ledger of runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from control_plane.domain.ids import new_id
from control_plane.registry.tables import (
    DatabaseRow,
    FleetRow,
    MigrationRunRow,
    MigrationTargetRow,
    TargetRow,
)


@dataclass(frozen=True, kw_only=True)
class Revisions:
    """The revisions that new homes are built at."""

    home: str
    tenant: str


def wanted(session: Session) -> Revisions:
    """What new homes are built at now."""
    row = session.execute(select(FleetRow)).scalar_one()
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


def start_run(session: Session, to_revision: str, actor: str) -> MigrationRunRow:
    """Open a run in the ledger."""
    row = MigrationRunRow(id=new_id(), to_revision=to_revision, actor=actor, state="running")
    session.add(row)
    session.flush()
    return row


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
