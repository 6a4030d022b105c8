"""Queries on the fleet: its targets, the revisions wanted of them, and the ledger of runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Engine,
    Integer,
    TableValuedAlias,
    Text,
    Uuid,
    and_,
    bindparam,
    case,
    cast,
    column,
    func,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.orm import Session
from sqlalchemy.types import TypeEngine

from control_plane.domain.errors import ConflictError
from control_plane.domain.tenant import Model
from control_plane.registry import moves
from control_plane.registry.engine import explained, session_of_its_own
from control_plane.registry.tables import (
    DatabaseRow,
    FleetRow,
    HomeRow,
    MigrationRunRow,
    MigrationTargetRow,
    TargetRow,
    TenantRow,
)

_LOCKS_OF_RUNS = 43
"""Keeps these advisory locks apart from those of other uses."""
MOVES_NAMED = 5


class FleetBusyError(ConflictError):
    """Another run over the fleet goes on."""

    code = "fleet_busy"


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


@dataclass(frozen=True, kw_only=True)
class PlacedTarget:
    """A target of the tenant chain, where it is, and the one tenant that lives there (none is told of a pool)."""

    database_id: UUID
    database: str
    server: str
    model: str
    schema: str
    revision: str | None
    tenant_id: UUID | None
    slug: str | None
    plan: str | None
    status: str | None
    labels: list[str] | None


def placed_targets(session: Session) -> list[PlacedTarget]:
    """Every target of the tenant chain, by server, database and schema."""
    lives_there = and_(
        HomeRow.database_id == TargetRow.database_id,
        HomeRow.schema == TargetRow.schema,
        HomeRow.state != "left",
        HomeRow.model != str(Model.POOL),
    )
    query = (
        select(
            DatabaseRow.id,
            DatabaseRow.name,
            DatabaseRow.server,
            DatabaseRow.model,
            TargetRow.schema,
            TargetRow.revision,
            TenantRow.id,
            TenantRow.slug,
            TenantRow.plan,
            TenantRow.status,
            TenantRow.labels,
        )
        .join(TargetRow, TargetRow.database_id == DatabaseRow.id)
        .outerjoin(HomeRow, lives_there)
        .outerjoin(TenantRow, TenantRow.id == HomeRow.tenant_id)
        .order_by(DatabaseRow.server, DatabaseRow.name, TargetRow.schema)
    )
    names = [field.name for field in fields(PlacedTarget)]
    return [PlacedTarget(**dict(zip(names, row, strict=True))) for row in session.execute(query)]


@contextmanager
def holding_fleet(engine: Engine, run_id: UUID) -> Iterator[Callable[[], None]]:
    """Hold the fleet for a run that goes on in this block: one at a time. FleetBusyError, naming the one that goes on,
    or the tenants that are being moved.

    The lock ends with its connection, and so with a killed process. What the block is given raises
    ControlDatabaseError when it is lost.
    """
    with session_of_its_own(engine) as connection:
        if not connection.scalar(select(func.pg_try_advisory_lock(_LOCKS_OF_RUNS, 0))):
            with Session(engine) as session:
                raise FleetBusyError(_who_runs(session))
        with Session(engine) as session:
            _refuse_while_moving(session)
        connection.execute(select(func.pg_advisory_lock(func.hashtextextended(str(run_id), _LOCKS_OF_RUNS))))

        def still_held() -> None:
            with explained():
                connection.execute(select(1))

        yield still_held


def keep_still(session: Session) -> None:
    """Let no run over the fleet begin before the caller's transaction ends. FleetBusyError while one goes on."""
    if not session.scalar(select(func.pg_try_advisory_xact_lock_shared(_LOCKS_OF_RUNS, 0))):
        raise FleetBusyError(_who_runs(session))


def _refuse_while_moving(session: Session) -> None:
    """Whoever begins a move keeps the fleet still until it is on record: it is seen here, or has not begun."""
    going_on = moves.on_their_way(session)
    if going_on:
        slugs = ", ".join(slug for _, slug in going_on[:MOVES_NAMED])
        more = f" and {len(going_on) - MOVES_NAMED} more" if len(going_on) > MOVES_NAMED else ""
        raise FleetBusyError(
            f"tenants are being moved: {slugs}{more}; wait until they have arrived, or cancel their moves"
        )


def _who_runs(session: Session) -> str:
    row = session.scalars(
        select(MigrationRunRow)
        .where(MigrationRunRow.state.in_(("running", "stopping")))
        .order_by(MigrationRunRow.id.desc())
    ).first()
    if row is None:
        return "another run over the fleet is about to begin"
    return f"run {row.id} by {row.actor} goes on since {row.started_at:%Y-%m-%d %H:%M:%S}: wait for it, or stop it"


def close_dead_runs(session: Session) -> None:
    """Record runs whose process was killed as interrupted, as stopped if that was wished: nobody holds their lock."""
    lock = func.hashtextextended(cast(MigrationRunRow.id, Text), _LOCKS_OF_RUNS)
    ended = case((MigrationRunRow.state == "stopping", "stopped"), else_="interrupted")
    session.execute(
        update(MigrationRunRow)
        .where(MigrationRunRow.state.in_(("running", "stopping")), func.pg_try_advisory_xact_lock(lock))
        .values(state=ended, ended_at=func.now(), reason="its process ended in the midst of it")
    )


def dead_runs(session: Session) -> Sequence[UUID]:
    """Runs that are recorded as going on and whose process was killed: those that `close_dead_runs` would record."""
    lock = func.hashtextextended(cast(MigrationRunRow.id, Text), _LOCKS_OF_RUNS)
    query = select(MigrationRunRow.id).where(
        MigrationRunRow.state.in_(("running", "stopping")), func.pg_try_advisory_xact_lock(lock)
    )
    return session.scalars(query.order_by(MigrationRunRow.id)).all()


def start_run(session: Session, row: MigrationRunRow) -> None:
    """Open a run in the ledger, or open it again to go on with it. That somebody wants it to stop stays on record."""
    close_dead_runs(session)
    known = session.get(MigrationRunRow, row.id, with_for_update=True, populate_existing=True)
    if known is not None and known.state == "stopping":
        row.state = known.state
    session.merge(row)
    session.flush()


def plan_targets(session: Session, rows: Sequence[dict[str, Any]]) -> None:
    """Write what a run is going to do before it does any of it; what is written already is planned anew."""
    if rows:
        statement = insert(MigrationTargetRow)
        again = {name: statement.excluded[name] for name in ("from_revision", "to_revision", "state", "wave")}
        keys = ["run_id", "chain", "database_id", "schema"]
        session.execute(statement.on_conflict_do_update(index_elements=keys, set_={**again, "error": None}), rows)


@dataclass(frozen=True, kw_only=True)
class TargetOutcome:
    """What became of one target. `revision` is where it is now; None when that did not change."""

    chain: str
    database_id: UUID
    schema: str
    state: str
    revision: str | None
    attempts: int
    error: str | None
    duration_ms: int


def record_outcomes(session: Session, run_id: UUID, outcomes: Sequence[TargetOutcome]) -> None:
    """Write what became of some targets, into the run's ledger and onto the roll."""
    if not outcomes:
        return
    given = _as_table(outcomes)
    same = (
        MigrationTargetRow.run_id == run_id,
        MigrationTargetRow.chain == given.c.chain,
        MigrationTargetRow.database_id == given.c.database_id,
        MigrationTargetRow.schema == given.c.schema,
    )
    told = {name: given.c[name] for name in ("state", "error", "duration_ms")}
    attempts = MigrationTargetRow.attempts + given.c.attempts
    session.execute(update(MigrationTargetRow).where(*same).values(**told, attempts=attempts))
    arrived = given.c.revision.is_not(None)
    session.execute(
        update(TargetRow)
        .where(
            TargetRow.database_id == given.c.database_id,
            TargetRow.schema == given.c.schema,
            given.c.chain == "tenant",
            arrived,
        )
        .values(revision=given.c.revision, checked_at=func.now())
    )
    session.execute(
        update(DatabaseRow)
        .where(DatabaseRow.id == given.c.database_id, given.c.chain == "home", arrived)
        .values(home_revision=given.c.revision)
    )


def _as_table(outcomes: Sequence[TargetOutcome]) -> TableValuedAlias:
    """The outcomes as a table of arrays, so that the statement is the same for any number of them and compiled once."""
    columns: tuple[tuple[str, TypeEngine[Any]], ...] = (
        ("chain", Text()),
        ("database_id", Uuid()),
        ("schema", Text()),
        ("state", Text()),
        ("revision", Text()),
        ("attempts", Integer()),
        ("error", Text()),
        ("duration_ms", Integer()),
    )
    arrays = [bindparam(None, [getattr(each, name) for each in outcomes], ARRAY(kind)) for name, kind in columns]
    return (
        func.unnest(*arrays)
        .table_valued(*(column(name, kind) for name, kind in columns), name="given")
        .render_derived()
    )


def end_run(session: Session, run_id: UUID, state: str, reason: str | None = None) -> None:
    """Close a run in the ledger; what it had planned and not begun is recorded as not started."""
    session.execute(
        update(MigrationTargetRow)
        .where(MigrationTargetRow.run_id == run_id, MigrationTargetRow.state == "planned")
        .values(state="not_started")
    )
    session.execute(
        update(MigrationRunRow)
        .where(MigrationRunRow.id == run_id)
        .values(state=state, ended_at=func.now(), reason=reason)
    )


def unfinished(session: Session, run_id: UUID, *, failed_only: bool) -> Sequence[MigrationTargetRow]:
    """The targets that a run has not brought to where it meant to."""
    query = select(MigrationTargetRow).where(MigrationTargetRow.run_id == run_id)
    wanted = MigrationTargetRow.state == "failed" if failed_only else MigrationTargetRow.state != "done"
    return session.scalars(query.where(wanted)).all()


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
