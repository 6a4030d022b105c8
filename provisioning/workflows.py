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
from sqlalchemy.exc import DBAPIError

from control_plane.domain.errors import CopyholdError, UnavailableError
from control_plane.registry import progress
from control_plane.registry.engine import transaction
from control_plane.registry.workflows import MIGRATE, PROVISION, RESUME, SUSPEND
from control_plane.routing.refusals import translated
from migrations.fleet import words
from provisioning import migrating, steps
from provisioning.steps import Step, Tools

STEP_TRIES = 4
FIRST_PAUSE_S = 0.2
MIGRATE_TRIES = 6
MIGRATE_PAUSE_S = 1.0
"""Doubled each time: a control database that is started anew is waited for."""
log = structlog.get_logger()


def register(tools: Tools) -> None:
    """Make the workflows known to the engine, under the names by which they are started. Before its launch."""

    def provision(tenant_id: str) -> None:
        subject = UUID(tenant_id)
        try:
            _run(tools, PROVISION, subject)
        except Exception as error:  # noqa: BLE001 - whatever it is, the tenant must end as failed, with the reason
            reason = in_words(error)
            log.error("provisioning_failed", tenant_id=tenant_id, error=type(error).__name__, reason=reason)
            DBOS.run_step({"name": "fail"}, steps.fail, tools, subject, reason)

    def suspend(tenant_id: str) -> None:
        _run(tools, SUSPEND, UUID(tenant_id))

    def resume(tenant_id: str) -> None:
        _run(tools, RESUME, UUID(tenant_id))

    def migrate(run_id: str) -> None:
        subject, workflow_id = UUID(run_id), DBOS.workflow_id
        assert workflow_id is not None
        options: StepOptions = {
            "name": "carry_out",
            "retries_allowed": True,
            "max_attempts": MIGRATE_TRIES,
            "interval_seconds": MIGRATE_PAUSE_S,
            "should_retry": worth_repeating,
        }
        try:
            DBOS.run_step(options, _recorded(tools, migrating.carry_out, workflow_id, 0), subject)
        except Exception as error:  # noqa: BLE001 - whatever it is, the run must end, with the reason
            reason = in_words(error)
            log.error("migration_failed", run_id=run_id, error=type(error).__name__, reason=reason)
            DBOS.run_step({"name": "give_up"}, migrating.give_up, tools, subject, reason)

    for name, workflow in ((PROVISION, provision), (SUSPEND, suspend), (RESUME, resume), (MIGRATE, migrate)):
        DBOS.workflow(name=name)(workflow)


def in_words(error: Exception) -> str:
    """Why it failed, for a person: nothing of a driver's that may hold values of rows."""
    cause = error.__cause__ if isinstance(error.__cause__, psycopg.Error | CopyholdError) else error
    if isinstance(cause, DBAPIError):
        return (translated(cause) or UnavailableError()).message
    return words.in_words(cause) if isinstance(cause, psycopg.Error | CopyholdError) else type(cause).__name__


def _run(tools: Tools, kind: str, subject: UUID) -> None:
    workflow_id = DBOS.workflow_id
    assert workflow_id is not None
    for position, step in enumerate(steps.SEQUENCES[kind]):
        options: StepOptions = {
            "name": step.__name__,
            "retries_allowed": True,
            "max_attempts": STEP_TRIES,
            "interval_seconds": FIRST_PAUSE_S,
            "should_retry": worth_repeating,
        }
        DBOS.run_step(options, _recorded(tools, step, workflow_id, position), subject)


def worth_repeating(error: BaseException) -> bool:
    """A wrong input stays wrong; what was unavailable may come back."""
    return isinstance(error, psycopg.OperationalError | DBAPIError | UnavailableError | TimeoutError | OSError)


def _recorded(tools: Tools, step: Step, workflow_id: str, position: int) -> Callable[[UUID], None]:
    def run(subject: UUID) -> None:
        started = time.monotonic()
        step(tools, subject)
        took_ms = round((time.monotonic() - started) * 1000)
        with transaction(tools.estate.engine) as session:
            progress.record(session, workflow_id, position, step.__name__, took_ms)

    return run
