"""Workers of a test's own on a platform whose supervisor is held still: killed, they stay dead."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg

from provisioning.layout import CONTROL_DATABASE
from tests.platform_under_test import PlatformUnderTest
from tests.waiting import until

REPOSITORY = Path(__file__).parents[2]
WORKER = (sys.executable, "-m", "cli.main", "worker", "--data")
LIFE_LINE = """
    SELECT pid FROM pg_locks
     WHERE locktype = 'advisory' AND granted AND objsubid = 1
       AND (classid::bigint << 32) | objid::bigint = hashtextextended(%s, 7)
"""


def control(platform: PlatformUnderTest) -> psycopg.Connection[Any]:
    """A superuser's connection to the control database, in autocommit; use it as a context manager."""
    dsn = platform.layout.server("control").dsn(database=CONTROL_DATABASE, user="postgres")
    return psycopg.connect(dsn, autocommit=True, prepare_threshold=None)


def processes(platform: PlatformUnderTest, verb: str) -> list[int]:
    """The platform's processes that were started as `copyhold VERB`."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().decode().split("\0")
            parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue
        if str(platform.data) in words and verb in words[:5]:
            parents[int(entry.name)] = int(parent)
    # One that has just been forked to start something else is called like its parent for a moment.
    return sorted(pid for pid, parent in parents.items() if parent not in parents)


@dataclass
class Workers:
    """Started and killed by name."""

    platform: PlatformUnderTest
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, *program: str) -> None:
        """Start one and wait until it takes work; a program of the test's own in the place of `copyhold worker`."""
        ready = self.platform.layout.worker_ready
        ready.unlink(missing_ok=True)
        self.running[name] = self.spawn(name, *program)
        until(lambda: ready.exists() or self.running[name].poll() is not None, what=f"{name} takes work")
        assert ready.exists(), f"{name} has ended; see its log"

    def spawn(self, name: str, *program: str) -> subprocess.Popen[bytes]:
        """Start one and do not wait."""
        with (self.platform.data / "logs" / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                program or (*WORKER, str(self.platform.data)),
                cwd=REPOSITORY,
                env={**os.environ, "COPYHOLD_WORKER_ID": name},
                stdout=log,
                stderr=log,
            )

    def kill(self, name: str) -> None:
        """kill -9."""
        process = self.running.pop(name)
        process.kill()
        process.wait()

    def executor_of(self, workflow: str) -> str:
        """Which worker has the workflow."""
        with control(self.platform) as connection:
            query = "SELECT executor_id FROM dbos.workflow_status WHERE workflow_uuid = %s"
            ((name,),) = connection.execute(query, [workflow]).fetchall()
        assert isinstance(name, str)
        return name

    def steps_of(self, workflow: str) -> list[tuple[int, str, str]]:
        """The steps that are recorded, each with the transaction that wrote it: a step that is redone writes anew."""
        with control(self.platform) as connection:
            query = "SELECT position, step, xmin::text FROM progress WHERE workflow_id = %s ORDER BY position"
            return connection.execute(query, [workflow]).fetchall()

    def end(self) -> None:
        """End all of them."""
        for name in list(self.running):
            self.kill(name)


@contextmanager
def workers_alone(platform: PlatformUnderTest) -> Iterator[Workers]:
    """No worker but those that a test starts, for as long as the block lasts."""
    (supervisor,) = processes(platform, "up")
    os.kill(supervisor, signal.SIGSTOP)
    workers = Workers(platform)
    try:
        for pid in processes(platform, "worker"):
            os.kill(pid, signal.SIGKILL)
        yield workers
    finally:
        workers.end()
        os.kill(supervisor, signal.SIGCONT)


def workflow_of(platform: PlatformUnderTest, tenant_id: UUID) -> str:
    """The workflow that makes the tenant's home."""
    with control(platform) as connection:
        ((workflow,),) = connection.execute("SELECT workflow_id FROM tenants WHERE id = %s", [tenant_id]).fetchall()
    assert isinstance(workflow, str)
    return workflow
