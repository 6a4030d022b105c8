"""The fleet as commands show it: where its targets are, what a run would do and did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TypedDict
from uuid import UUID

from cli.output import counted
from cli.wiring import Platform
from control_plane.registry import fleet, reports, servers
from control_plane.registry.engine import transaction
from control_plane.registry.tables import MigrationRunRow
from control_plane.registry.ways_back import WayBack
from migrations.fleet.chains import HOME, Chain, Phase
from migrations.fleet.crew import Outcome
from migrations.fleet.events import Began, Event, Report, WaveBegan, WaveEnded
from migrations.fleet.gate import Blocker
from migrations.fleet.plan import Plan, Step, Target

PLACES_NAMED = 3


class TargetsAt(TypedDict):
    """How many targets of a chain and model are at a revision; `state` is current, behind or ahead."""

    chain: str
    model: str
    revision: str | None
    targets: int
    state: str


class TargetShown(TypedDict):
    """One target."""

    chain: str
    server: str
    database: str
    schema: str
    revision: str | None


class FleetShown(TypedDict):
    """The fleet. `newest` is what `migrate up` brings it to, `new_homes` what homes are built at now."""

    newest: dict[str, str]
    new_homes: dict[str, str]
    targets: list[TargetsAt]
    behind: int
    ahead: list[TargetShown]


class StepShown(TypedDict):
    """One target and where it is brought to."""

    chain: str
    server: str
    database: str
    schema: str
    from_revision: str | None
    to_revision: str


class FailureShown(StepShown):
    """A target that could not be brought there. `revision` is where it is now, None when that could not be seen."""

    error: str | None
    revision: str | None


class RunShown(TypedDict):
    """One run; `targets` counts them by what became of them."""

    id: str
    direction: str
    to_revision: str
    actor: str
    state: str
    reason: str | None
    code_version: str
    started_at: datetime
    ended_at: datetime | None
    targets: dict[str, int]


class RunFailure(TypedDict):
    """A target that a run could not bring to its revision."""

    chain: str
    database: str
    schema: str
    from_revision: str | None
    to_revision: str
    error: str | None


class RunDetails(RunShown):
    """A run with its failures."""

    failed: list[RunFailure]


class ReportShown(TypedDict):
    """What became of a run; without an id there was nothing to do."""

    run_id: str | None
    to_revision: str
    state: str
    reason: str | None
    done: int
    failed: list[FailureShown]
    not_started: int
    there_already: int
    ahead: list[TargetShown]
    duration_ms: int


def fleet_shown(platform: Platform) -> FleetShown:
    """The fleet by chain, model and revision, held against the newest revisions that this version knows."""
    with transaction(platform.engine) as session:
        wanted = fleet.wanted(session)
        models = {row.id: row.model for row in servers.all_databases(session)}
    newest = {HOME.name: HOME, platform.chain.name: platform.chain}
    targets = platform.fleet.targets()
    counts = Counter((target.chain, models[target.database_id], target.revision) for target in targets)
    shown = [
        TargetsAt(chain=chain, model=model, revision=revision, targets=count, state=_state(newest[chain], revision))
        for (chain, model, revision), count in sorted(counts.items(), key=lambda item: [str(part) for part in item[0]])
    ]
    return FleetShown(
        newest={name: chain.head for name, chain in newest.items()},
        new_homes={HOME.name: wanted.home, platform.chain.name: wanted.tenant},
        targets=shown,
        behind=sum(row["targets"] for row in shown if row["state"] == "behind"),
        ahead=[_target(target) for target in targets if _state(newest[target.chain], target.revision) == "ahead"],
    )


def step_shown(step: Step) -> StepShown:
    """One step of a plan."""
    target = step.target
    return StepShown(
        chain=target.chain,
        server=target.server,
        database=target.database,
        schema=target.schema,
        from_revision=target.revision,
        to_revision=step.to_revision,
    )


def plan_shown(work: Plan, blockers: Iterable[Blocker], lost: Iterable[WayBack]) -> dict[str, object]:
    """A plan, every step of it, which processes are in its way, and who loses the way back from a move."""
    return {
        "steps": [{**step_shown(step), "wave": wave.number} for wave in work.waves for step in wave.steps],
        "blocked_by": [str(blocker) for blocker in blockers],
        "ways_back_lost": [way.slug for way in lost],
        "there_already": work.there_already,
        "ahead": [_target(target) for target in work.ahead],
    }


def by_wave(work: Plan) -> dict[tuple[str, str, str, str, str, str], int]:
    """How many targets of each chain, server and model go from which revision to which in each wave, in order."""
    kinds = (
        (
            "homes" if wave.number == 0 else str(wave.number),
            step.target.chain,
            step.target.server,
            step.target.model,
            step.target.revision or "",
            step.to_revision,
        )
        for wave in work.waves
        for step in wave.steps
    )
    return dict(Counter(kinds))


def sql_of(work: Plan, tenant: Chain) -> Iterator[str]:
    """What is sent to each kind of target (chain, from, to), as a script to read: a target has its own search_path."""
    kinds: dict[tuple[str, str | None, str], list[Target]] = {}
    for step in work.steps:
        kinds.setdefault((step.target.chain, step.target.revision, step.to_revision), []).append(step.target)
    for (name, current, wanted), targets in kinds.items():
        places = ", ".join(f"{target.database}.{target.schema}" for target in targets[:PLACES_NAMED])
        more = ", …" if len(targets) > PLACES_NAMED else ""
        yield f"-- {name} {current or '(nothing)'} -> {wanted}, {counted(len(targets), 'target')}: {places}{more}"
        for phase in (HOME if name == HOME.name else tenant).compiled(current, wanted):
            yield from _script(phase)
        yield ""


def event_shown(event: Event) -> dict[str, object]:
    """What happens in a run, as an event of a stream."""
    match event:
        case Began(run_id=run_id, plan=plan):
            waves = [{"wave": wave.number, "targets": len(wave.steps)} for wave in plan.waves]
            return {"event": "run", "run_id": run_id, "waves": waves, "there_already": plan.there_already}
        case WaveBegan(number=number, targets=targets):
            return {"event": "wave", "wave": number, "targets": targets}
        case WaveEnded(number=number, done=done, failed=failed, stopped=stopped):
            return {"event": "wave_end", "wave": number, "done": done, "failed": failed, "stopped": stopped}
        case Outcome():
            return {
                "event": "target",
                **step_shown(event.step),
                "state": "failed" if event.error else "done",
                "error": event.error,
                "attempts": event.attempts,
                "duration_ms": event.duration_ms,
            }


def report_shown(report: Report, to_revision: str) -> ReportShown:
    """A run's report."""
    return ReportShown(
        run_id=str(report.run_id) if report.run_id else None,
        to_revision=to_revision,
        state=report.state,
        reason=report.reason,
        done=report.done,
        failed=[
            FailureShown(**step_shown(outcome.step), error=outcome.error, revision=outcome.revision)
            for outcome in report.failed
        ],
        not_started=report.not_started,
        there_already=report.there_already,
        ahead=[_target(target) for target in report.ahead],
        duration_ms=report.duration_ms,
    )


def history(platform: Platform, limit: int) -> list[RunShown]:
    """The newest runs, newest first."""
    with transaction(platform.engine) as session:
        return [_run(row, states) for row, states in fleet.runs(session, limit)]


def newest_unfinished(platform: Platform) -> UUID | None:
    """The newest run, unless it brought every target to where it meant to."""
    with transaction(platform.engine) as session:
        return next((row.id for row, states in fleet.runs(session, 1) if set(states) - {"done"}), None)


def run_details(platform: Platform, run_id: UUID) -> RunDetails:
    """One run with its failures, or NotFoundError."""
    with transaction(platform.engine) as session:
        row, states = reports.run(session, run_id)
        failures = fleet.failures(session, run_id)
        failed = [
            RunFailure(
                chain=target.chain,
                database=database,
                schema=target.schema,
                from_revision=target.from_revision,
                to_revision=target.to_revision,
                error=target.error,
            )
            for target, database in failures
        ]
        return RunDetails(**_run(row, states), failed=failed)


def _state(chain: Chain, revision: str | None) -> str:
    if revision == chain.head:
        return "current"
    return "behind" if chain.upgrades(revision, chain.head) else "ahead"


def _target(target: Target) -> TargetShown:
    return TargetShown(
        chain=target.chain,
        server=target.server,
        database=target.database,
        schema=target.schema,
        revision=target.revision,
    )


def _run(row: MigrationRunRow, states: dict[str, int]) -> RunShown:
    return RunShown(
        id=str(row.id),
        direction=row.direction,
        to_revision=row.to_revision,
        actor=row.actor,
        state=row.state,
        reason=row.reason,
        code_version=row.code_version,
        started_at=row.started_at,
        ended_at=row.ended_at,
        targets=states,
    )


def _script(phase: Phase) -> list[str]:
    if phase.python:
        return [f"-- {phase.after} is a revision in Python: Alembic runs it in each target"]
    return ["BEGIN;", phase.sql, "COMMIT;"] if phase.transactional else [phase.sql]
