"""HTTP for the fleet: which revisions its targets are at, and what runs did to them."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from fastapi import APIRouter
from pydantic import Field
from sqlalchemy.orm import Session

from control_plane.api.desk import AsSupport
from control_plane.api.errors import problems
from control_plane.api.inputs import PAGE_ROWS, Limit, Output, PathId
from control_plane.domain.tenant import Model
from control_plane.registry import fleet, reports
from control_plane.registry.tables import MigrationRunRow

router = APIRouter(prefix="/admin", tags=["fleet"])


class RunOut(Output):
    """One run of a tenant migration over the fleet."""

    id: UUID
    to_revision: str
    actor: str
    state: str
    started_at: datetime
    ended_at: datetime | None
    targets: dict[str, int]
    """How many targets are in each state."""


class RunList(Output):
    """The newest runs."""

    items: list[RunOut]


class FailedTarget(Output):
    """A target that a run could not bring to its revision."""

    chain: str
    database: str
    db_schema: str = Field(serialization_alias="schema")
    from_revision: str | None
    to_revision: str
    error: str | None


class RunDetails(RunOut):
    """One run with its failures."""

    failed: list[FailedTarget]


class TargetsAt(Output):
    """How many targets of a model are at a revision."""

    model: Model
    revision: str | None
    targets: int


class FleetOut(Output):
    """The fleet as a whole."""

    home_revision: str
    """What new homes' `tenancy` schemas are built at."""
    tenant_revision: str
    """What new homes' tables are built at."""
    targets: list[TargetsAt]


@router.get("/migrations", responses=problems(401, 422, 503))
async def list_migrations(desk: AsSupport, limit: Limit = PAGE_ROWS) -> RunList:
    """Runs, newest first."""
    return await desk.run(_runs, limit)


@router.get("/migrations/{run_id}", responses=problems(401, 404, 503))
async def get_migration(run_id: PathId, desk: AsSupport) -> RunDetails:
    """One run, and why targets failed."""
    return await desk.run(_run, run_id)


@router.get("/fleet", responses=problems(401, 503))
async def get_fleet(desk: AsSupport) -> FleetOut:
    """Which revisions the targets are at."""
    return await desk.run(_fleet)


def _runs(session: Session, limit: int) -> RunList:
    return RunList(items=[_shown(run, states) for run, states in fleet.runs(session, limit)])


def _run(session: Session, run_id: UUID) -> RunDetails:
    run, states = reports.run(session, run_id)
    failed = [
        FailedTarget(
            chain=target.chain,
            database=database,
            db_schema=target.schema,
            from_revision=target.from_revision,
            to_revision=target.to_revision,
            error=target.error,
        )
        for target, database in fleet.failures(session, run_id)
    ]
    return RunDetails(**_shown(run, states).model_dump(), failed=failed)


def _fleet(session: Session) -> FleetOut:
    wanted = fleet.wanted(session)
    found = reports.targets_by_revision(session)
    return FleetOut(
        home_revision=wanted.home,
        tenant_revision=wanted.tenant,
        targets=[TargetsAt(model=Model(model), revision=at, targets=count) for model, at, count in found],
    )


def _shown(run: MigrationRunRow, states: dict[str, int]) -> RunOut:
    return RunOut(
        id=run.id,
        to_revision=run.to_revision,
        actor=run.actor,
        state=run.state,
        started_at=run.started_at,
        ended_at=run.ended_at,
        targets=states,
    )
