"""What one more database costs a pooler that serves 100, 1,000 or 5,000: our whole apply, and other clients' wait.

In turn with it the least that it could be: the file of databases written, and the pooler told to read it. A PgBouncer
and a control database of their own; the entries are on the roll and lead nowhere, but for the one that the clients are
on. Environment: COPYHOLD_BENCH_ROUNDS (30).
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import Engine

from cli.supervisor.tools import find_tool
from control_plane.domain.names import SHARED_SCHEMA
from control_plane.domain.server import Server
from control_plane.domain.tenant import Model
from control_plane.doors import SOCKETS
from control_plane.registry import servers
from control_plane.registry.engine import control_engine, transaction
from control_plane.settings import Settings
from migrations.fleet.chains import CONTROL
from migrations.fleet.replay import bring_to
from provisioning.files import write_atomically
from provisioning.pooler.apply import Pooler
from provisioning.pooler.console import Console, console
from provisioning.pooler.errors import PoolerDownError
from provisioning.pooler.render import DATABASES_FILE
from provisioning.providers.throwaway import throwaway_server
from provisioning.roles import SUPERUSER, connect
from tests.service_user import as_service_user
from tests.waiting import until

SIZES = (100, 1000, 5000)
ROUNDS = int(os.environ.get("COPYHOLD_BENCH_ROUNDS", "30"))
IDLE_CLIENTS = 50
PORT = 6432
LIVE = "live"
"""The one entry with a database behind it."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What was measured with so many entries. Times in milliseconds."""

    apply_ms: float
    reload_ms: float
    look_ms: float
    stall_ms: float
    quiet_ms: float
    memory_mb: float
    dropped: int


def run() -> dict[str, Any]:
    """All figures. Takes about a minute."""
    found: dict[int, Found] = {}
    with throwaway_server() as server:
        for size in SIZES:
            found[size] = each = as_service_user(Path(server.host), measure, server, size)
            print(
                f"{size:>5} entries: apply {each.apply_ms:6.1f} ms (write and RELOAD alone {each.reload_ms:6.1f} ms),"
                f" a look {each.look_ms:6.1f} ms,"
                f" longest stall {each.stall_ms:6.1f} ms (without an apply {each.quiet_ms:5.1f} ms),"
                f" {each.memory_mb:5.1f} MB, {each.dropped} clients dropped",
                flush=True,
            )
    figures = {
        name: {str(size): round(getattr(each, name), 1) for size, each in found.items()}
        for name in ("apply_ms", "reload_ms", "look_ms", "stall_ms", "quiet_ms", "memory_mb")
    }
    return {**figures, "dropped": sum(each.dropped for each in found.values())}


def measure(server: Server, size: int) -> Found:
    """One size; called by the user whom the pooler's console lets in."""
    dsn = _control_database(server, f"control_{size}")
    engine = control_engine(dsn, timeout_s=30)
    try:
        _enter_all(engine, server, size)
        with tempfile.TemporaryDirectory(prefix="ch-bench-", dir="/tmp") as folder:
            pooler = Pooler(_settings(dsn, Path(folder)), engine)
            with _pgbouncer(pooler, Path(folder)) as process:
                return _applied(pooler, engine, Path(folder), process)
    finally:
        engine.dispose()


def _applied(pooler: Pooler, engine: Engine, folder: Path, process: subprocess.Popen[bytes]) -> Found:
    dsn = f"host={folder} port={PORT} dbname={LIVE} user={LIVE}"
    idle = [psycopg.connect(dsn, autocommit=True, prepare_threshold=None) for _ in range(IDLE_CLIENTS)]
    with _asking(dsn) as quiet:
        looks = [_timed_ms(pooler.apply) for _ in range(ROUNDS)]
    applies, reloads = [], []
    with _asking(dsn) as busy, console(_settings("", folder)) as live:
        for number in range(ROUNDS):
            with transaction(engine) as session:
                servers.ensure_database(session, "throwaway", f"more_{number}", Model.SILO)
            applies.append(_timed_ms(pooler.apply))
            reloads.append(_timed_ms(partial(_reload, live, folder / DATABASES_FILE)))
    assert pooler.diff().none
    return Found(
        apply_ms=statistics.median(applies),
        reload_ms=statistics.median(reloads),
        look_ms=statistics.median(looks),
        stall_ms=busy.longest_ms,
        quiet_ms=quiet.longest_ms,
        memory_mb=_memory_mb(process.pid),
        dropped=quiet.dropped + busy.dropped + sum(not _answers(client) for client in idle),
    )


def _reload(live: Console, databases: Path) -> None:
    write_atomically(databases, databases.read_bytes(), sync=False)
    live.ask("RELOAD")


@dataclass
class _Asked:
    longest_ms: float = 0.0
    dropped: int = 0


@contextmanager
def _asking(dsn: str) -> Iterator[_Asked]:
    """Another process asks without a pause; once the block has ended, how that went."""
    command = [sys.executable, "-m", "benchmarks.asking", dsn]
    asker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert asker.stdin is not None
    assert asker.stdout is not None
    assert asker.stdout.readline() == "ready\n"
    asked = _Asked()
    try:
        yield asked
    finally:
        asker.stdin.close()
        longest, dropped = asker.stdout.read().split()
        asked.longest_ms, asked.dropped = float(longest), int(dropped)
        asker.wait()


def _is_up(pooler: Pooler) -> bool:
    with suppress(PoolerDownError):
        return pooler.version() > (0, 0)
    return False


def _answers(client: psycopg.Connection[Any]) -> bool:
    with suppress(psycopg.OperationalError):
        return client.execute("SELECT 1").fetchone() == (1,)
    return False


def _timed_ms(do: Callable[[], object]) -> float:
    started = time.perf_counter()
    do()
    return (time.perf_counter() - started) * 1000


def _control_database(server: Server, name: str) -> str:
    with connect(SOCKETS.dsn(server, "postgres", SUPERUSER)) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        if admin.execute("SELECT FROM pg_database WHERE datname = %s", [LIVE]).fetchone() is None:
            admin.execute(sql.SQL("CREATE DATABASE {0}").format(sql.Identifier(LIVE)))
            admin.execute(sql.SQL("CREATE ROLE {0} LOGIN").format(sql.Identifier(LIVE)))
    dsn = SOCKETS.dsn(server, name, SUPERUSER)
    bring_to(dsn, CONTROL, SHARED_SCHEMA, CONTROL.head, owner=SUPERUSER)
    return dsn


def _enter_all(engine: Engine, server: Server, size: int) -> None:
    with transaction(engine) as session:
        servers.register(session, server)
        servers.ensure_database(session, server.name, LIVE, Model.POOL)
        for _ in range(size - 1):
            servers.add_silo(session, server.name)


def _settings(dsn: str, folder: Path) -> Settings:
    return Settings(
        control_dsn=dsn,
        pooler_host=str(folder),
        pooler_port=PORT,
        pooler_dir=folder,
        master_key_file=folder,
        snapshot_file=folder,
    )


@contextmanager
def _pgbouncer(pooler: Pooler, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    tool = find_tool("pgbouncer")
    assert tool is not None, "./run setup installs PgBouncer"
    pooler.write((tool.release[0], tool.release[1]))
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen([str(tool.path), str(folder / "pgbouncer.ini")], stdout=log, stderr=log)
    try:
        until(lambda: _is_up(pooler), what="the pooler answers")
        yield process
    finally:
        process.kill()
        process.wait()


def _memory_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024
