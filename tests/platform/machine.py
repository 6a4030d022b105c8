"""A platform under test: started and stopped as a person would, looked at from outside."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from cli.supervisor import readiness
from provisioning.layout import POOLER_PORT, Layout

COPYHOLD = Path(__file__).parent / "stubs" / "copyhold.py"
PARTS = ("control", "alpha", "beta", "pgbouncer", "redis", "api", "worker")
SIGNS = {
    "control": "/servers/control",
    "alpha": "/servers/alpha",
    "beta": "/servers/beta",
    "pgbouncer": "/pgbouncer/pgbouncer.ini",
    "redis": "/redis/redis.conf",
    "api": "stubs/api.py",
    "worker": "stubs/worker.py",
}


def eventually(fact: Callable[[], bool], within_s: float = 20.0) -> None:
    until = time.monotonic() + within_s
    while not fact():
        assert time.monotonic() < until, "it did not become true"
        time.sleep(0.02)


def free_port() -> int:
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port


@dataclass
class Platform:
    data: Path
    port: int = field(default_factory=free_port)
    supervisor: subprocess.Popen[str] | None = None

    def command(self, verb: str, *arguments: str) -> list[str]:
        return [sys.executable, str(COPYHOLD), verb, "--data", str(self.data), *arguments]

    def run(self, verb: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(verb, *arguments),
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def spawn(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """`up` in the foreground, not waited for."""
        self.supervisor = subprocess.Popen(
            self.command("up", "--port", str(self.port), *arguments),
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        return self.supervisor

    def up(self, *arguments: str, **environment: str) -> str:
        """`up` in the foreground, ready. What it printed."""
        process = self.spawn(*arguments, **environment)
        assert process.stdout is not None
        printed = ""
        for line in process.stdout:
            printed += line
            if line.startswith("stop with"):
                return printed
        raise AssertionError(printed)

    def end(self) -> tuple[int, str]:
        """Wait for the end of `up`: its exit status and the rest of what it printed."""
        assert self.supervisor is not None
        printed, _ = self.supervisor.communicate(timeout=60)
        return self.supervisor.returncode, printed

    def tell(self, number: signal.Signals) -> None:
        assert self.supervisor is not None
        self.supervisor.send_signal(number)

    def processes(self) -> dict[int, str]:
        """Everything that runs with or in the data folder, from /proc, the supervisor left out."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                inside = (entry / "cwd").readlink().is_relative_to(self.data)
            except OSError:
                continue
            if line and (inside or str(self.data) in line) and "stubs/copyhold.py" not in line:
                found[int(entry.name)] = line
        return found

    def pid(self, part: str) -> int | None:
        found = [pid for pid, line in self.processes().items() if SIGNS[part] in line]
        return min(found) if found else None

    @property
    def layout(self) -> Layout:
        return Layout(data=self.data, port=self.port)

    def starts(self) -> int:
        """How many starts the control database remembers."""
        with psycopg.connect(self.layout.server("control").dsn(database="postgres", user="postgres")) as control:
            row = control.execute("SELECT count(*) FROM starts").fetchone()
        assert row is not None
        return int(row[0])

    def serves(self, part: str) -> bool:
        layout = self.layout
        if part == "pgbouncer":
            # Root is not PgBouncer's own user, so this asks for a database behind it.
            return self.answers(POOLER_PORT)
        if part == "redis":
            return readiness.redis_answers(layout.redis_socket)
        if part == "api":
            return readiness.api_answers(layout.host, layout.port)
        if part == "worker":
            return layout.worker_ready.exists()
        return layout.provider.is_ready(part)

    def answers(self, port: int) -> bool:
        try:
            psycopg.connect(
                host=str(self.layout.sockets), port=port, dbname="postgres", user="postgres", connect_timeout=2
            ).close()
        except psycopg.OperationalError:
            return False
        return True
