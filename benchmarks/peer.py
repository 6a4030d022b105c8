"""The peer of the fleet's benchmark: what django-tenants needs to bring as many schemas one migration further.

Environment: COPYHOLD_BENCH_PEER_SCHEMAS (300; 0 leaves the peer out), COPYHOLD_BENCH_ROUNDS (3). The peer has an
environment of its own in .tools/peers, from a lock of its own; it is made once, and only then from the package index.
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from tests.platform_under_test import PlatformUnderTest

SCHEMAS = int(os.environ.get("COPYHOLD_BENCH_PEER_SCHEMAS", "300"))
ROUNDS = int(os.environ.get("COPYHOLD_BENCH_ROUNDS", "3"))
EXECUTORS = ("standard", "multiprocessing")
ROOT = Path(__file__).parents[1]
PROJECT = Path(__file__).parent / "peers" / "django_tenants"
LOCK = PROJECT / "requirements.lock"
ENVIRONMENT = ROOT / ".tools" / "peers" / "django-tenants"
PYTHON = ENVIRONMENT / "bin" / "python"
UV = ROOT / ".tools" / "bin" / "uv"
SERVER, DATABASE = "alpha", "peer"
FIRST, ADDED, INDEX = "0001_initial", "0002_last_message", "conversation_last_message"


@dataclass(frozen=True, kw_only=True)
class Side:
    """What one side took for `targets` targets, and for starting its command and doing nothing at all; seconds."""

    targets: int
    start_s: float
    apply_s: float
    noop_s: float

    @property
    def apply_s_per_1000(self) -> float:
        """What applying would take with 1,000 targets."""
        return self._per_1000(self.apply_s)

    @property
    def noop_s_per_1000(self) -> float:
        """What finding nothing to do would take with 1,000 targets."""
        return self._per_1000(self.noop_s)

    def _per_1000(self, seconds: float) -> float:
        """The start is paid once, however many targets there are: only the rest grows with them."""
        start = min(self.start_s, seconds)
        return start + (seconds - start) * 1000 / self.targets


def install() -> None:
    """Make the peer's environment, unless it is there as the lock says. Comes first: a download may fail."""
    stamp = ENVIRONMENT / ".lock"
    if not SCHEMAS or (stamp.is_file() and stamp.read_text() == LOCK.read_text()):
        return
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    environment = {**os.environ, "UV_PYTHON_DOWNLOADS": "never"}
    base = os.path.realpath(sys.executable)
    sync = ["pip", "sync", "--python", str(PYTHON), "--require-hashes", "--compile-bytecode", str(LOCK)]
    for arguments in (["venv", "--python", base, str(ENVIRONMENT)], sync):
        subprocess.run([UV, *arguments, "--quiet"], env=environment, check=True)
    stamp.write_text(LOCK.read_text())


def figures(platform: PlatformUnderTest, ours: Side) -> dict[str, Any]:
    """The peer's figures and our ratio to them; nothing where the peer was left out. About five minutes."""
    if not SCHEMAS:
        return {}
    with _database(platform) as connection:
        peer = _Peer(platform, connection)
        peer.settle()
        return {"peer_version": peer.version(), **compare(ours, peer.measure())}


def compare(ours: Side, peer: Mapping[str, Side]) -> dict[str, float]:
    """Seconds for 1,000 targets on each side, and the peer's better executor over ours."""
    result = {"apply_s_per_1000": ours.apply_s_per_1000, "noop_s_per_1000": ours.noop_s_per_1000}
    for executor, side in peer.items():
        result[f"peer_{executor}_apply_s_per_1000"] = side.apply_s_per_1000
        result[f"peer_{executor}_noop_s_per_1000"] = side.noop_s_per_1000
    best_apply = min(side.apply_s_per_1000 for side in peer.values())
    best_noop = min(side.noop_s_per_1000 for side in peer.values())
    result["peer_apply_ratio"] = best_apply / ours.apply_s_per_1000
    result["peer_noop_ratio"] = best_noop / ours.noop_s_per_1000
    return {key: round(value, 2) for key, value in result.items()}


@contextmanager
def _database(platform: PlatformUnderTest) -> Iterator[psycopg.Connection[Any]]:
    """The peer's own database, on the server that has our schemas; dropped at the end."""
    name = sql.Identifier(DATABASE)
    with platform.superuser(SERVER, "postgres") as server:
        server.execute(sql.SQL("CREATE DATABASE {}").format(name))
        try:
            with platform.superuser(SERVER, DATABASE) as connection:
                yield connection
        finally:
            server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


class _Peer:
    """A Django project with as many tenants as asked for."""

    def __init__(self, platform: PlatformUnderTest, connection: psycopg.Connection[Any]) -> None:
        server = platform.server(SERVER)
        self._connection = connection
        self._schemas = [f"customer_{number:04}" for number in range(SCHEMAS)]
        self._environment = {
            **os.environ,
            "PGHOST": server.host,
            "PGPORT": str(server.port),
            "PGUSER": "postgres",
            "PGDATABASE": DATABASE,
        }

    def version(self) -> str:
        """The peer's, and that of the Django it stands on."""
        pinned = re.search(r"^django-tenants==([\w.]+)", LOCK.read_text(), re.MULTILINE)
        return f"django-tenants {pinned and pinned[1]} on Django {self._manage('--version').strip()}"

    def settle(self) -> None:
        """Make the tenants at the first migration, by Django's own SQL, replayed: its command would take minutes."""
        _say(f"django-tenants: making {SCHEMAS} schemas")
        self._manage("migrate_schemas", "--shared")
        self._connection.execute(
            "INSERT INTO public.customers_customer (schema_name, name) SELECT each, each FROM unnest(%s::text[]) each",
            [self._schemas],
        )
        tables = self._sql_of(FIRST)
        # The shared chain's rows are in every schema too: Django records what a router kept it from doing.
        record = f"""
            CREATE TABLE django_migrations (LIKE public.django_migrations INCLUDING ALL);
            INSERT INTO django_migrations (app, name, applied)
            SELECT app, name, applied FROM public.django_migrations WHERE name <> '{ADDED}'
        """
        for schema in self._schemas:
            self._connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
            self._in(schema, tables, record)

    def measure(self) -> dict[str, Side]:
        """Both executors in turn, round after round; taken back in between by Django's own SQL."""
        back = self._sql_of(ADDED, "--backwards"), f"DELETE FROM django_migrations WHERE name = '{ADDED}'"
        start = statistics.median(self._timed("migrate_schemas", "--help") for _ in range(3))
        applied: dict[str, list[float]] = {executor: [] for executor in EXECUTORS}
        nothing: dict[str, list[float]] = {executor: [] for executor in EXECUTORS}
        for number in range(ROUNDS):
            for executor in EXECUTORS:
                command = ("migrate_schemas", "--tenant", f"--executor={executor}")
                self._expect(0)
                applied[executor].append(self._timed(*command))
                self._expect(SCHEMAS)
                nothing[executor].append(self._timed(*command))
                for schema in self._schemas:
                    self._in(schema, *back)
                took = f"{applied[executor][-1]:.2f} s, nothing to do {nothing[executor][-1]:.2f} s"
                _say(f"django-tenants {executor}, round {number + 1}: {took}")
        return {executor: _side(start, applied[executor], nothing[executor]) for executor in EXECUTORS}

    def _expect(self, schemas: int) -> None:
        """In so many schemas there is the valid index, and with it the column, and the migration is recorded."""
        indexes = "SELECT count(*) FROM pg_index WHERE indisvalid AND indexrelid::regclass::text LIKE %s"
        one = sql.SQL("SELECT count(*) FROM {} WHERE name = {}")
        each = [one.format(sql.Identifier(name, "django_migrations"), sql.Literal(ADDED)) for name in self._schemas]
        recorded = sum(row[0] for row in self._connection.execute(sql.SQL(" UNION ALL ").join(each)).fetchall())
        found = self._connection.execute(indexes, [f"customer_%.{INDEX}"]).fetchone()
        if (recorded, found) != (schemas, (schemas,)):
            raise RuntimeError(f"{schemas} schemas should be at {ADDED}: {recorded} say so, {found} have its index")

    def _in(self, schema: str, *scripts: str) -> None:
        self._connection.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(schema)))
        for script in scripts:
            self._connection.execute(script.encode())
        self._connection.execute("RESET search_path")

    def _sql_of(self, migration: str, *options: str) -> str:
        schema = f"--schema={self._schemas[0]}"
        return self._manage("tenant_command", "sqlmigrate", "inbox", migration, *options, schema, "--no-color")

    def _timed(self, *arguments: str) -> float:
        started = time.perf_counter()
        self._manage(*arguments)
        return time.perf_counter() - started

    def _manage(self, *arguments: str) -> str:
        command = [str(PYTHON), str(PROJECT / "manage.py"), *arguments]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode:
            raise RuntimeError(f"manage.py {' '.join(arguments)} ended with {done.returncode}: {done.stderr[-2000:]}")
        return done.stdout


def _side(start: float, applied: Sequence[float], nothing: Sequence[float]) -> Side:
    apply_s, noop_s = statistics.median(applied), statistics.median(nothing)
    return Side(targets=SCHEMAS, start_s=start, apply_s=apply_s, noop_s=noop_s)


def _say(line: str) -> None:
    print(line, flush=True)
