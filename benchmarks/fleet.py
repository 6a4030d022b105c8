"""What a migration of the whole fleet costs, against raw psycopg that replays the same SQL as fast as it can.

Environment: COPYHOLD_BENCH_SCHEMAS (1000), COPYHOLD_BENCH_SILOS (500), COPYHOLD_BENCH_ROUNDS (3), and the peer's
COPYHOLD_BENCH_PEER_SCHEMAS (300).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from benchmarks import peer
from control_plane.domain.server import Server
from control_plane.domain.tenant import Model
from control_plane.doors import SOCKETS
from control_plane.registry import fleet, servers, tenants
from control_plane.registry.engine import transaction
from migrations.fleet.chains import tenant_chain
from migrations.fleet.plan import Target
from migrations.fleet.run import FleetMigration
from tests.platform_under_test import PlatformUnderTest, running_platform

SCHEMAS = int(os.environ.get("COPYHOLD_BENCH_SCHEMAS", "1000"))
SILOS = int(os.environ.get("COPYHOLD_BENCH_SILOS", "500"))
ROUNDS = int(os.environ.get("COPYHOLD_BENCH_ROUNDS", "3"))
FIRST, PLAIN, CONCURRENT = "0001", "0002", "0003"
MIGRATOR = "copyhold_migrator"
RAW_THREADS = (4, 8, 16)
MAKERS = 4
CONCURRENTLY = '''"""One more index, built beside the tenant's work."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

expands = True


def upgrade() -> None:
    """Concurrently: outside of any transaction."""
    with op.get_context().autocommit_block():
        op.execute("CREATE INDEX CONCURRENTLY IF NOT EXISTS messages_at_idx ON messages (tenant_id, created_at)")


def downgrade() -> None:
    """Loses nothing."""
    op.execute("DROP INDEX messages_at_idx")
'''


@dataclass(frozen=True, kw_only=True)
class Command:
    """One run of the command: whole, from the start of its process to its end."""

    seconds: float
    memory_mb: float


def run() -> dict[str, Any]:
    """All figures. Takes about a quarter of an hour, most of it for making the fleet and for the peer."""
    peer.install()
    with running_platform("--at", FIRST, folder=Path(tempfile.mkdtemp(prefix="ch-bench-", dir="/tmp"))) as platform:
        bench = Bench(platform)
        bench.settle()
        return bench.figures()


class Bench:
    """A fleet, and both sides that migrate it."""

    def __init__(self, platform: PlatformUnderTest) -> None:
        self.platform = platform
        self.folder = Path(tempfile.mkdtemp(prefix="ch-bench-chain-", dir="/tmp"))
        self.folder.chmod(0o755)
        chain = self.folder / "tenant"
        shutil.copytree(Path(__file__).parents[1] / "migrations" / "tenant", chain)
        (chain / "versions" / "0003_concurrent.py").write_text(CONCURRENTLY)
        self.chain = tenant_chain(str(chain))
        with transaction(platform.engine) as session:
            self.servers = {server.name: server for server in servers.all_servers(session)}

    def settle(self) -> None:
        """Make the tenants, and a second pool."""
        _say(f"making {SCHEMAS} schemas, {SILOS} silos and 2 pools")
        with ThreadPoolExecutor(MAKERS) as pool:
            wanted = [Model.BRIDGE] * SCHEMAS + [Model.SILO] * SILOS + [Model.POOL] * 4
            list(pool.map(lambda model: self.platform.tenant(model), wanted))
        builder = self.platform.estate.builder(self.servers["alpha"])
        with transaction(self.platform.engine) as session:
            wanted_revisions = fleet.wanted(session)
            pool_2 = servers.ensure_database(session, "alpha", "pool_2", Model.POOL)
        builder.build_shared("pool_2", wanted_revisions, with_tables=True)
        builder.install_key("pool_2", self.platform.keyring.context_key(pool_2.id))
        with transaction(self.platform.engine) as session:
            tenants.ensure_target(session, pool_2.id, "public", FIRST)
            fleet.set_home_revision(session, pool_2.id, wanted_revisions.home)

    def figures(self) -> dict[str, Any]:
        """Both sides in turn, round after round."""
        most, result = _Watch(self), {}
        with most:
            plain, raw_plain = self._rounds(FIRST, PLAIN)
            self._both_to(PLAIN)
            concurrent, raw_concurrent = self._rounds(PLAIN, CONCURRENT)
            self._both_to(CONCURRENT)
            nothing = [self._command("up", "--to", CONCURRENT) for _ in range(ROUNDS)]
            verified = [self._command("up", "--to", CONCURRENT, "--verify") for _ in range(ROUNDS)]
            looked = [_timed(self._look) for _ in range(ROUNDS)]
            checked = _timed(lambda: self._command("check", allowed=(0, 1)))
        start = statistics.median(_timed(lambda: self._command("status", "--help")) for _ in range(3))
        result = {
            "targets": SCHEMAS + SILOS + 2,
            "apply_s": _median(plain),
            "apply_raw_s": round(statistics.median(raw_plain), 2),
            "apply_ratio_raw": _ratio(plain, raw_plain),
            "concurrent_s": _median(concurrent),
            "concurrent_raw_s": round(statistics.median(raw_concurrent), 2),
            "concurrent_ratio_raw": _ratio(concurrent, raw_concurrent),
            "noop_s": _median(nothing),
            "noop_verified_s": _median(verified),
            "noop_verified_raw_s": round(statistics.median(looked), 2),
            "noop_verified_ratio_raw": _ratio(verified, looked),
            "fingerprint_s": round(checked, 2),
            "start_s": round(start, 2),
            "memory_mb": round(max(each.memory_mb for each in (*plain, *concurrent, *verified))),
            "connections_max": most.found,
        }
        ours = peer.Side(targets=len(self._targets()), start_s=start, apply_s=_median(plain), noop_s=_median(nothing))
        result |= peer.figures(self.platform, ours)
        shutil.rmtree(self.folder)
        return result

    def _rounds(self, current: str, wanted: str) -> tuple[list[Command], list[float]]:
        ours, raw = [], []
        for number in range(ROUNDS):
            self._rewind(wanted, current)
            ours.append(self._command("up", "--to", wanted, "--no-check"))
            best = min(self._raw_round(current, wanted, threads) for threads in RAW_THREADS)
            raw.append(best)
            _say(f"{current} -> {wanted}, round {number + 1}: {ours[-1].seconds:.2f} s, raw {best:.2f} s")
        return ours, raw

    def _raw_round(self, current: str, wanted: str, threads: int) -> float:
        self._rewind(wanted, current)
        return _timed(partial(self._replay, current, wanted, threads))

    def _both_to(self, wanted: str) -> None:
        with transaction(self.platform.engine) as session:
            for database, target in fleet.targets(session):
                fleet.set_target_revision(session, database.id, target.schema, wanted)

    def _replay(self, current: str, wanted: str, threads: int) -> None:
        """The same statements, nothing looked at and nothing recorded; a connection a thread for the schemas."""
        phases = [(phase.transactional, phase.sql) for phase in self.chain.compiled(current, wanted)]
        crews = self._crews(threads)
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda crew: self._replay_in(crew, phases), crews))

    def _crews(self, threads: int) -> list[list[tuple[Server, str, list[str]]]]:
        by_database: dict[tuple[str, str], list[str]] = {}
        for target in self._targets():
            by_database.setdefault((target.server, target.database), []).append(target.schema)
        crews: list[list[tuple[Server, str, list[str]]]] = [[] for _ in range(threads)]
        for number, ((server, database), schemas) in enumerate(sorted(by_database.items())):
            if len(schemas) == 1:
                crews[number % threads].append((self.servers[server], database, schemas))
                continue
            for thread in range(threads):
                crews[thread].append((self.servers[server], database, schemas[thread::threads]))
        return crews

    @staticmethod
    def _replay_in(crew: Sequence[tuple[Server, str, list[str]]], phases: Sequence[tuple[bool, str]]) -> None:
        for server, database, schemas in crew:
            with psycopg.connect(SOCKETS.dsn(server, database, MIGRATOR), autocommit=True) as connection:
                connection.execute("SET ROLE copyhold_owner")
                for schema in schemas:
                    connection.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(schema)))
                    for transactional, text in phases:
                        connection.execute((f"BEGIN; {text}\n; COMMIT" if transactional else text).encode())

    def _look(self) -> None:
        """The version of every target, asked of every database over a connection of its own, eight at a time."""
        by_database: dict[tuple[str, str], list[str]] = {}
        for target in self._targets():
            by_database.setdefault((target.server, target.database), []).append(target.schema)

        def look(item: tuple[tuple[str, str], list[str]]) -> None:
            (server, database), schemas = item
            one = sql.SQL("SELECT {}, version_num FROM {}")
            each = [one.format(sql.Literal(name), sql.Identifier(name, "alembic_version")) for name in schemas]
            with psycopg.connect(SOCKETS.dsn(self.servers[server], database, MIGRATOR), autocommit=True) as connection:
                for start in range(0, len(each), 500):
                    connection.execute(sql.SQL(" UNION ALL ").join(each[start : start + 500])).fetchall()

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(look, by_database.items()))

    def _rewind(self, current: str, to: str) -> None:
        """Back to the revision before, by the chain's own way back; not measured."""
        back = [(phase.transactional, phase.sql) for phase in self.chain.compiled(current, to)]

        def one(item: tuple[Server, str, list[str]]) -> None:
            server, database, schemas = item
            with psycopg.connect(SOCKETS.dsn(server, database, MIGRATOR), autocommit=True) as connection:
                connection.execute("SET ROLE copyhold_owner")
                for schema in schemas:
                    connection.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(schema)))
                    at = connection.execute("SELECT version_num FROM alembic_version").fetchone()
                    if at == (current,):
                        for _, text in back:
                            connection.execute(f"BEGIN; {text}\n; COMMIT".encode())

        with ThreadPoolExecutor(8) as pool:
            for crew in self._crews(8):
                list(pool.map(one, crew))
        self._both_to(to)

    def _targets(self) -> list[Target]:
        return [t for t in FleetMigration(self.platform.engine, self.chain, SOCKETS).targets() if t.chain == "tenant"]

    def _command(self, *arguments: str, allowed: tuple[int, ...] = (0,)) -> Command:
        settings = self.platform.settings
        environment = {
            **os.environ,
            "COPYHOLD_CONTROL_DSN": settings.control_dsn,
            "COPYHOLD_POOLER_HOST": settings.pooler_host,
            "COPYHOLD_POOLER_PORT": str(settings.pooler_port),
            "COPYHOLD_POOLER_DIR": str(settings.pooler_dir),
            "COPYHOLD_MASTER_KEY_FILE": str(settings.master_key_file),
            "COPYHOLD_SNAPSHOT_FILE": str(settings.snapshot_file),
            "COPYHOLD_TENANT_APP": "benchmarks.fleet_app:app",
            "COPYHOLD_BENCH_CHAIN": self.chain.location,
        }
        command = [sys.executable, "-m", "cli.main", "migrate", *arguments]
        started = time.perf_counter()
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            assert process.stdout is not None
            with ThreadPoolExecutor(1) as pool:
                peak = pool.submit(_peak_mb, process)
                said = process.stdout.read()
                process.wait()
        seconds = time.perf_counter() - started
        if process.returncode not in allowed:
            raise RuntimeError(f"{' '.join(arguments)} ended with {process.returncode}: {said.decode()}")
        return Command(seconds=seconds, memory_mb=peak.result())


class _Watch(threading.Thread):
    """Counts the migrator's connections on each server, ten times a second, and remembers the most on one."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(daemon=True)
        self._bench, self._over = bench, threading.Event()
        self.found = 0

    def __enter__(self) -> None:
        self.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        ours = "usename = 'copyhold_migrator' AND application_name = 'copyhold'"
        query = f"SELECT count(*) FROM pg_stat_activity WHERE {ours}".encode()
        platform = self._bench.platform
        with platform.superuser("alpha", "postgres") as alpha, platform.superuser("beta", "postgres") as beta:
            while not self._over.wait(0.1):
                for server in (alpha, beta):
                    row = server.execute(query).fetchone()
                    self.found = max(self.found, int(row[0]) if row else 0)


def _peak_mb(process: subprocess.Popen[bytes]) -> float:
    """The most memory that the process has had, as the kernel keeps it; asked for as long as it lives."""
    peak = 0.0
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        with contextlib.suppress(OSError):
            for line in status.read_text().splitlines():
                if line.startswith("VmHWM:"):
                    peak = max(peak, int(line.split()[1]) / 1024)
        time.sleep(0.05)
    return peak


def _timed(do: Callable[[], object]) -> float:
    started = time.perf_counter()
    do()
    return time.perf_counter() - started


def _median(commands: Sequence[Command]) -> float:
    return round(statistics.median(each.seconds for each in commands), 2)


def _ratio(commands: Sequence[Command], raw: Sequence[float]) -> float:
    return round(statistics.median(each.seconds for each in commands) / statistics.median(raw), 2)


def _say(line: str) -> None:
    print(line, flush=True)
