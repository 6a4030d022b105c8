"""The worker process: runs workflows, and takes over those of workers that died.

Each worker holds an advisory lock named after its id for as long as it lives, on a connection of its own; a free lock
means a dead worker. A worker that loses its connection ends itself at once: another may have taken over its work.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import structlog
from dbos import DBOS, DBOSClient, DBOSConfig, Queue
from psycopg import sql

from control_plane.domain.errors import ConflictError
from control_plane.registry import processes
from control_plane.registry.engine import control_engine, transaction
from control_plane.registry.workflows import APPLICATION, QUEUE, WORK_CHANNEL, DurableWorkflows
from control_plane.routing.announcing import Announcer
from migrations.fleet import gate
from provisioning import steps, warming, workflows
from provisioning.due import seeing_to_what_is_due
from provisioning.estate import Estate
from provisioning.inside import Inside
from provisioning.measuring import measuring
from provisioning.moves.bounds import wait_for_thaw
from provisioning.moves.gauging import gauging_slots
from provisioning.moves.keeping import keeping_ways_back
from provisioning.steps import Tools
from provisioning.waking import Bell, dequeuing

APPLICATION_VERSION = "1"
"""Of the workflows' shape, not of the code: a new number strands running workflows. Patch them instead (DBOS.patch)."""
WATCH_S = 1.0
QUEUE_POLL_S = 1.0
"""It is woken as well: see `waking`."""
LISTEN_S = 0.2
"""So long at most until the end of the worker is noticed."""
THAW_S = 5.0
"""So long at most does a worker that ends wait until nobody is frozen by it."""
AT_ONCE = 8
AT_ONCE_A_SERVER = 4
"""So that one that is slow, or gone, does not hold up the others' work."""
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
        announcer = Announcer(estate.engine, processes.WORKER, estate.app.revisions, keyring=estate.keyring)
        announcer.start()
        started = DurableWorkflows(estate.engine)
        bell = Bell()
        try:
            workflows.register(Tools(estate=estate, inside=inside, workflows=started), bell.ring_soon)
            engine, queue = _launch(estate)
            warming.begin_all(estate.engine, started, steps.ACTOR)
            with (
                dequeuing(engine, queue, bell),
                _watching(life_line, settings.worker_id, bell),
                seeing_to_what_is_due(estate.engine, started, settings, steps.ACTOR),
                measuring(estate),
                keeping_ways_back(estate),
                gauging_slots(estate),
            ):
                yield
        finally:
            DBOS.destroy(workflow_completion_timeout_sec=5)
            started.close()
            inside.close()
            announcer.stop()


def _launch(estate: Estate) -> tuple[DBOS, Queue]:
    engine = control_engine(estate.settings.control_dsn, timeout_s=30, pool_size=6)
    config: DBOSConfig = {
        "name": APPLICATION,
        "system_database_engine": engine,
        "executor_id": estate.settings.worker_id,
        "application_version": APPLICATION_VERSION,
        "run_migrations": False,
        "log_level": "WARNING",
        "notification_listener_polling_interval_sec": 0.2,
        "notification_coalesce_sec": 0.2,  # Of events and streams, which nobody has here: 0.01 wakes it in vain.
    }
    # Before the launch: a queue that appears later is found by a slow poll.
    client = DBOSClient(system_database_engine=engine, application_name=APPLICATION)
    queue = register_queue(client)
    client.destroy()
    launched = DBOS(config=config)
    DBOS.listen_queues([])
    DBOS.launch()
    return launched, queue


def register_queue(client: DBOSClient, poll_s: float = QUEUE_POLL_S) -> Queue:
    """The queue of all workflows, with its limits."""
    return client.register_queue(
        QUEUE,
        worker_concurrency=AT_ONCE,
        partition_worker_concurrency=AT_ONCE_A_SERVER,
        polling_interval_sec=poll_s,
    )


@contextmanager
def _life_line(dsn: str, worker_id: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as connection:
        if not _try_lock(connection, worker_id):
            raise WorkerIdTakenError(f"a worker named {worker_id!r} is running; give this one a COPYHOLD_WORKER_ID")
        yield connection


@contextmanager
def _watching(life_line: psycopg.Connection[Any], worker_id: str, bell: Bell) -> Iterator[None]:
    stopping = threading.Event()

    def watch() -> None:
        due = time.monotonic() + WATCH_S
        while not stopping.is_set():
            try:
                for _ in life_line.notifies(timeout=LISTEN_S, stop_after=1):
                    bell.ring()
                if time.monotonic() > due:
                    _take_over(life_line, worker_id, bell)
                    due = time.monotonic() + WATCH_S
            except Exception as error:  # noqa: BLE001 - unwatched it would work on what another may have taken over
                log.error("life_line_lost", worker=worker_id, error=type(error).__name__)
                # Nobody could thaw a tenant before the control database is back. Without it nobody is switched.
                wait_for_thaw(THAW_S)
                os._exit(70)

    life_line.execute(sql.SQL("LISTEN {}").format(sql.Identifier(WORK_CHANNEL)))
    thread = threading.Thread(target=watch, name="watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join(timeout=5)


def _take_over(life_line: psycopg.Connection[Any], worker_id: str, bell: Bell) -> None:
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
            bell.ring()
        finally:
            life_line.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 7))", [f"worker/{dead}"])


def _try_lock(connection: psycopg.Connection[Any], worker_id: str) -> bool:
    row = connection.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 7))", [f"worker/{worker_id}"]).fetchone()
    return bool(row and row[0])
