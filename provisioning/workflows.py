"""Workflows on the engine (DBOS): steps in order, each recorded, each repeated a few times before the whole gives up.

The engine is met here and in `worker` alone. Arguments are ids.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from uuid import UUID

import psycopg
import structlog
from dbos import DBOS, StepOptions
from dbos import error as engine_errors
from sqlalchemy.exc import DBAPIError

from control_plane.domain.errors import CopyholdError, UnavailableError
from control_plane.registry import progress, warm, workflow_records
from control_plane.registry.engine import transaction
from control_plane.registry.workflows import ANYWHERE, MIGRATE, begins_at, continued, record_of
from control_plane.routing.refusals import translated
from migrations.fleet import words
from provisioning import migrating, steps, waiting
from provisioning.steps import Compensation, Step, Tools

STEP_TRIES = 4
FIRST_PAUSE_S = 0.2
MIGRATE_TRIES = 6
MIGRATE_PAUSE_S = 1.0
"""Doubled each time: a control database that is started anew is waited for."""
log = structlog.get_logger()

WhenDone = Callable[[], None]


def register(tools: Tools, when_done: WhenDone = lambda: None) -> None:
    """Make the workflows known to the engine, under the names by which they are started. Before its launch.

    `when_done` is called at the end of each, when its place among those that run at once is about to be free.
    """
    for kind in steps.SEQUENCES:
        DBOS.workflow(name=kind)(_sequence(tools, kind, when_done))
    DBOS.workflow(name=MIGRATE)(_migration(tools, when_done))


def _sequence(tools: Tools, kind: str, when_done: WhenDone) -> Callable[[str], None]:
    def run(subject_id: str) -> None:
        subject = UUID(subject_id)
        last = len(steps.SEQUENCES[kind]) - 1
        try:
            first = begins_at(str(DBOS.workflow_id))
            for position, step in list(enumerate(steps.SEQUENCES[kind]))[first:]:
                recorded = _recorded(tools, step, _workflow_id(), position, last=position == last)
                again_s = DBOS.run_step(_repeated(step.__name__, STEP_TRIES, FIRST_PAUSE_S), recorded, subject)
                if again_s is not None:
                    return _go_on_later(tools, kind, subject, position, again_s)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must end as failed, with the reason
            log.error("workflow_failed", workflow=_workflow_id(), error=type(error).__name__, reason=in_words(error))
            _fail(tools, error, subject, steps.FAILURES.get(kind))
        finally:
            when_done()

    return run


def _migration(tools: Tools, when_done: WhenDone) -> Callable[[str], None]:
    def run(run_id: str) -> None:
        subject = UUID(run_id)
        try:
            recorded = _recorded(tools, migrating.carry_out, _workflow_id(), 0, last=True)
            DBOS.run_step(_repeated("carry_out", MIGRATE_TRIES, MIGRATE_PAUSE_S), recorded, subject)
        except Exception as error:  # noqa: BLE001 - whatever it is, the run must end, with the reason
            log.error("migration_failed", run_id=run_id, error=type(error).__name__, reason=in_words(error))
            _fail(tools, error, subject, migrating.give_up)
        finally:
            when_done()

    return run


def in_words(error: Exception) -> str:
    """Why it failed, for a person: nothing of a driver's that may hold values of rows."""
    if isinstance(error, engine_errors.DBOSMaxStepRetriesExceeded):
        return in_words(error.errors[-1])
    cause = error.__cause__ if isinstance(error.__cause__, psycopg.Error | CopyholdError) else error
    if isinstance(cause, DBAPIError):
        return (translated(cause) or UnavailableError()).message
    return words.in_words(cause) if isinstance(cause, psycopg.Error | CopyholdError) else type(cause).__name__


def worth_repeating(error: BaseException) -> bool:
    """A wrong input stays wrong; what was unavailable may come back.

    So may what PostgreSQL calls an internal error: it has no other name for two who change one row of a catalogue at
    once, or for an object that goes while it is looked at.
    """
    passing = psycopg.OperationalError | psycopg.errors.InternalError_ | DBAPIError
    return isinstance(error, passing | UnavailableError | TimeoutError | OSError)


def _go_on_later(tools: Tools, kind: str, subject: UUID, position: int, after_s: float) -> None:
    """End here, and have another run of the engine's go on at that step: while nothing happens no place is held."""
    following = continued(str(DBOS.workflow_id), position)

    def go_on() -> None:
        with transaction(tools.estate.engine) as session:
            lane = warm.server_of(session, subject) or ANYWHERE
            tools.workflows.start(session, kind, following, subject, lane=lane, after_s=after_s)

    DBOS.run_step(_repeated("go_on_later", MIGRATE_TRIES, MIGRATE_PAUSE_S), go_on)


def _workflow_id() -> str:
    """The id on record, whichever of the engine's runs of it this is."""
    workflow_id = DBOS.workflow_id
    assert workflow_id is not None
    return record_of(workflow_id)


def _repeated(name: str, tries: int, first_pause_s: float) -> StepOptions:
    return {
        "name": name,
        "retries_allowed": True,
        "max_attempts": tries,
        "interval_seconds": first_pause_s,
        "should_retry": worth_repeating,
    }


def _recorded(
    tools: Tools, step: Step, workflow_id: str, position: int, *, last: bool
) -> Callable[[UUID], float | None]:
    """The step, told in the workflow's progress and, of the first and the last one, in its record.

    It returns after how many seconds it has to be asked again; None once it is done.
    """
    place = position * progress.ROOM

    def run(subject: UUID) -> float | None:
        if position == 0:
            with transaction(tools.estate.engine) as session:
                workflow_records.begun(session, workflow_id)
        started = time.monotonic()
        not_yet = step(tools, subject)
        took_ms = round((time.monotonic() - started) * 1000)
        with transaction(tools.estate.engine) as session:
            waited_ms = progress.waited_ms(session, workflow_id, place)
            if not_yet is not None:
                return waiting.go_on(session, workflow_id, place, step.__name__, not_yet, waited_ms)
            progress.record(session, workflow_id, place, step.__name__, waited_ms or took_ms)
            if last:
                workflow_records.ended(session, workflow_id)
        return None

    return run


def _fail(tools: Tools, error: Exception, subject: UUID, compensation: Compensation | None) -> None:
    workflow_id, reason = _workflow_id(), in_words(error)

    def fail() -> None:
        if compensation is not None:
            compensation(tools, subject, reason)
        with transaction(tools.estate.engine) as session:
            workflow_records.ended(session, workflow_id, reason)

    DBOS.run_step(_repeated("fail", MIGRATE_TRIES, MIGRATE_PAUSE_S), fail)
