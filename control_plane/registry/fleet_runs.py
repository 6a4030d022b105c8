"""Runs over the fleet that are asked for here and done by a worker: asking, stopping, and seeing what is new in one."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from control_plane.domain.errors import ConflictError, NotFoundError
from control_plane.registry import fleet
from control_plane.registry.fleet import FleetBusyError
from control_plane.registry.tables import MigrationRunRow, MigrationTargetRow

REQUESTED, RUNNING, STOPPING, STOPPED, INTERRUPTED = "requested", "running", "stopping", "stopped", "interrupted"
UNENDED = frozenset({REQUESTED, RUNNING, STOPPING})
_LOCK_OF_REQUESTS = 44
"""Keeps this advisory lock apart from those of other uses."""
_NEWS = text("""
    SELECT seen::text, t.wave, t.chain, d.name, t.schema, t.from_revision, t.to_revision, t.state, t.attempts,
           t.duration_ms, t.error
      FROM (SELECT snapshot AS seen, pg_snapshot_xmax(snapshot)::text::bigint AS top
              FROM pg_current_snapshot() AS snapshot) AS now
      LEFT JOIN (migration_targets t JOIN databases d ON d.id = t.database_id)
        ON t.run_id = :run AND t.state IN ('done', 'failed')
       AND (CAST(:marker AS text) IS NULL
            OR NOT pg_visible_in_snapshot(
                   (top - (top - t.xmin::text::bigint + 4294967296) % 4294967296)::text::xid8,
                   CAST(CAST(:marker AS text) AS pg_snapshot)))
     ORDER BY t.wave, d.name, t.schema
""")
"""What has been written since a snapshot was taken, and the snapshot that this very statement sees: between two calls
nothing is missed and nothing is told twice. Whoever writes outcomes uses no savepoints: snapshots do not tell of them.
"""


class NotRunningError(ConflictError):
    """That run does not go on."""

    code = "run_not_running"


@dataclass(frozen=True, kw_only=True)
class TargetNews:
    """What became of a target."""

    wave: int
    chain: str
    database: str
    schema: str
    from_revision: str | None
    to_revision: str
    state: str
    attempts: int
    duration_ms: int | None
    error: str | None


def request(session: Session, row: MigrationRunRow) -> None:
    """Record a run that somebody wants; FleetBusyError, naming it, while another has not ended."""
    session.execute(select(func.pg_advisory_xact_lock(_LOCK_OF_REQUESTS)))
    fleet.close_dead_runs(session)
    others = select(MigrationRunRow).where(MigrationRunRow.state.in_(UNENDED)).order_by(MigrationRunRow.id.desc())
    if (other := session.scalars(others).first()) is not None:
        raise FleetBusyError(f"run {other.id} by {other.actor} is {other.state}: wait for it, or stop it")
    session.add(row)
    session.flush()


def get(session: Session, run_id: UUID, *, lock: bool = False) -> MigrationRunRow:
    """One run as it is recorded, or NotFoundError."""
    row = session.get(MigrationRunRow, run_id, with_for_update=lock or None)
    if row is None:
        raise NotFoundError("there is no such run", run_id=str(run_id))
    return row


def begin(session: Session, run_id: UUID) -> bool:
    """Record that a run goes on from now; False when it was stopped before that."""
    waiting = MigrationRunRow.state.in_((REQUESTED, RUNNING, INTERRUPTED))
    begun = update(MigrationRunRow).where(MigrationRunRow.id == run_id, waiting)
    found = session.scalars(
        begun.values(state=RUNNING, ended_at=None, reason=None).returning(MigrationRunRow.id)
    ).one_or_none()
    return found is not None


def ask_to_stop(session: Session, run_id: UUID, reason: str) -> MigrationRunRow:
    """Have a run end when what is in flight has; one that nobody carries out right now ends at once.

    NotRunningError when it has ended.
    """
    row = get(session, run_id, lock=True)
    if row.state not in UNENDED | {INTERRUPTED}:
        raise NotRunningError(f"the run is {row.state}")
    if row.state in {REQUESTED, INTERRUPTED}:
        fleet.end_run(session, run_id, STOPPED, reason)
        session.refresh(row)
    else:
        row.state = STOPPING
    return row


def stop_asked(session: Session, run_id: UUID) -> bool:
    """Whether somebody wants the run to stop."""
    return session.scalar(select(MigrationRunRow.state).where(MigrationRunRow.id == run_id)) == STOPPING


def waves(session: Session, run_id: UUID) -> dict[int, dict[str, int]]:
    """A run's targets counted by state, for each of its waves."""
    columns = (MigrationTargetRow.wave, MigrationTargetRow.state)
    query = select(*columns, func.count()).where(MigrationTargetRow.run_id == run_id).group_by(*columns)
    counted: dict[int, dict[str, int]] = {}
    for wave, state, count in session.execute(query.order_by(*columns)):
        counted.setdefault(wave, {})[state] = count
    return counted


def targets(session: Session, run_id: UUID) -> set[tuple[UUID, str, str]]:
    """The targets of a run: database, chain and schema."""
    row = MigrationTargetRow
    query = select(row.database_id, row.chain, row.schema).where(row.run_id == run_id)
    return {(database_id, chain, schema) for database_id, chain, schema in session.execute(query)}


def news(session: Session, run_id: UUID, marker: str | None) -> tuple[list[TargetNews], str]:
    """The targets that have ended since `marker`, all of them without one, and the marker for the next call."""
    rows = session.execute(_NEWS, {"run": run_id, "marker": marker}).all()
    names = TargetNews.__dataclass_fields__
    told = [TargetNews(**dict(zip(names, row[1:], strict=True))) for row in rows if row[1] is not None]
    return told, str(rows[0][0])
