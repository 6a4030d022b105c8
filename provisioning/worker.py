"""The worker process: runs workflows, and takes over those of workers that died.

Each worker holds an advisory lock named after its id for as long as it lives, on a connection of its own; a free lock
means a dead worker. A worker that loses its connection ends itself at once: another may have taken over its work.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import structlog
from dbos import DBOS, DBOSClient, DBOSConfig

from control_plane.domain.errors import ConflictError
from control_plane.registry.engine import control_engine, transaction
from control_plane.registry.workflows import APPLICATION, QUEUE
from control_plane.routing.announcing import Announcer
from migrations.fleet import gate
from provisioning import workflows
from provisioning.estate import Estate
from provisioning.inside import Inside
from provisioning.steps import Tools

APPLICATION_VERSION = "1"
"""Of the workflows' shape, not of the code: a new number strands running workflows. Patch them instead (DBOS.patch)."""
WATCH_S = 1.0
QUEUE_POLL_S = 0.1
AT_ONCE = 4
LIST_MAX = 500
log = structlog.get_logger()


class WorkerIdTakenError(ConflictError):
    """Another worker runs under this id."""

    code = "worker_id_taken"


@contextmanager
def running(estate: Estate) -> Iterator[None]:
    """Take work until the block ends; steps in flight then get a few seconds to finish."""
    settings = estate.settings
    with transaction(estate.engine) as session:
        gate.publish(session, estate.chain)
    with _life_line(settings.control_dsn, settings.worker_id) as life_line:
        inside = Inside(estate)
        announcer = Announcer(estate.engine, "worker", estate.app.revisions)
        announcer.start()
        try:
            workflows.register(Tools(estate=estate, inside=inside))
            _launch(estate)
            with _watching(life_line, settings.worker_id):
                yield
        finally:
            DBOS.destroy(workflow_completion_timeout_sec=5)
            inside.close()
            announcer.stop()


def _launch(estate: Estate) -> None:
    engine = control_engine(estate.settings.control_dsn, timeout_s=30, pool_size=6)
    config: DBOSConfig = {
        "name": APPLICATION,
        "system_database_engine": engine,
        "executor_id": estate.settings.worker_id,
        "application_version": APPLICATION_VERSION,
        "run_migrations": False,
        "log_level": "WARNING",
        "notification_listener_polling_interval_sec": 0.2,
    }
    # Before the launch: a queue that appears later is found by a slow poll.
    client = DBOSClient(system_database_engine=engine, application_name=APPLICATION)
    client.register_queue(QUEUE, worker_concurrency=AT_ONCE, polling_interval_sec=QUEUE_POLL_S)
    client.destroy()
    DBOS(config=config)
    DBOS.launch()


@contextmanager
def _life_line(dsn: str, worker_id: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as connection:
        if not _try_lock(connection, worker_id):
            raise WorkerIdTakenError(f"a worker named {worker_id!r} is running; give this one a COPYHOLD_WORKER_ID")
        yield connection


@contextmanager
def _watching(life_line: psycopg.Connection[Any], worker_id: str) -> Iterator[None]:
    stopping = threading.Event()

    def watch() -> None:
        while not stopping.wait(WATCH_S):
            try:
                _take_over(life_line, worker_id)
            except Exception as error:  # noqa: BLE001 - unwatched it would work on what another may have taken over
                log.error("life_line_lost", worker=worker_id, error=type(error).__name__)
                os._exit(70)

    thread = threading.Thread(target=watch, name="watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join(timeout=5)


def _take_over(life_line: psycopg.Connection[Any], worker_id: str) -> None:
    """Resume what dead workers left. Under the dead one's lock, so that of several survivors one does it."""
    pending = DBOS.list_workflows(status="PENDING", limit=LIST_MAX, load_input=False, load_output=False)
    life_line.execute("SELECT 1")
    for dead in {status.executor_id for status in pending} - {worker_id, None}:
        if not _try_lock(life_line, str(dead)):
            continue
        try:
            left = DBOS.list_workflows(
                status="PENDING", executor_id=[str(dead)], limit=LIST_MAX, load_input=False, load_output=False
            )
            for status in left:
                log.warning("workflow_taken_over", workflow=status.workflow_id, dead=dead, worker=worker_id)
                DBOS.resume_workflow(status.workflow_id, queue_name=QUEUE)
        finally:
            life_line.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 7))", [f"worker/{dead}"])


def _try_lock(connection: psycopg.Connection[Any], worker_id: str) -> bool:
    row = connection.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 7))", [f"worker/{worker_id}"]).fetchone()
    return bool(row and row[0])
