"""What staff do to the fleet and see of it, each in one transaction."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy.orm import Session

from control_plane import audit
from control_plane.api.admin.fleet_schemas import (
    FailedTarget,
    FleetOut,
    NewRun,
    RunDetails,
    RunList,
    RunOut,
    TargetEvent,
    TargetsAt,
    WaveOut,
)
from control_plane.domain.ids import new_id
from control_plane.domain.tenant import Model
from control_plane.registry import fleet, fleet_runs, reports, workflow_records
from control_plane.registry.tables import MigrationRunRow
from control_plane.registry.workflows import MIGRATE, Workflows
from control_plane.version import code_version


@dataclass(frozen=True, kw_only=True)
class Look:
    """A run, and what has come since the look before."""

    run: RunOut
    targets: list[TargetEvent] = field(default_factory=list)
    marker: str


def runs(session: Session, limit: int) -> RunList:
    """The newest runs."""
    return RunList(items=[_shown(run, states) for run, states in fleet.runs(session, limit)])


def start(session: Session, workflows: Workflows, new: NewRun, actor: str) -> RunOut:
    """A run that a worker will do; FleetBusyError while another has not ended."""
    row = MigrationRunRow(
        id=new_id(),
        to_revision=new.to,
        actor=actor,
        state=fleet_runs.REQUESTED,
        direction="up",
        code_version=code_version(),
        options=new.model_dump(mode="json", exclude_none=True),
        reason=None,
        ended_at=None,
    )
    fleet_runs.request(session, row)
    audit.record(session, actor, "migrate.up", new.to, run=str(row.id))
    workflow_records.start(session, workflows, MIGRATE, row.id, actor)
    return _shown(row, {})


def stop(session: Session, run_id: UUID, actor: str) -> RunOut:
    """The run, which ends when what is in flight has; NotRunningError when it has ended already."""
    row = fleet_runs.ask_to_stop(session, run_id, f"{actor} stopped it")
    audit.record(session, actor, "migrate.stop", row.to_revision, run=str(row.id))
    return _shown(row, reports.run(session, run_id)[1])


def details(session: Session, run_id: UUID) -> RunDetails:
    """One run with its waves and failures."""
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
    waves = [WaveOut(wave=wave, targets=counted) for wave, counted in fleet_runs.waves(session, run_id).items()]
    return RunDetails(**_shown(run, states).model_dump(), waves=waves, failed=failed)


def look(session: Session, run_id: UUID, marker: str | None) -> Look:
    """The run first and its targets then: of a run that is seen to have ended, no target is missed."""
    run, states = reports.run(session, run_id)
    news, marker = fleet_runs.news(session, run_id, marker)
    return Look(run=_shown(run, states), targets=[TargetEvent.model_validate(each) for each in news], marker=marker)


def whole(session: Session) -> FleetOut:
    """Which revisions the targets are at."""
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
        direction=run.direction,
        to_revision=run.to_revision,
        actor=run.actor,
        state=run.state,
        reason=run.reason,
        code_version=run.code_version,
        started_at=run.started_at,
        ended_at=run.ended_at,
        targets=states,
    )
