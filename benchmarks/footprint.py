"""What a platform takes: memory by part, disk by server, connections.

As a program, a process of the platform's own user that goes on counting connections: the pooler tells nobody else.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from cli.supervisor.privileges import drop_to_owner
from control_plane.domain.tenant import Model
from provisioning.layout import SERVERS, Layout
from provisioning.pooler.console import Console, console
from provisioning.pooler.render import CONSOLE
from provisioning.roles import SUPERUSER, connect

MIB = 1024**2
LOOK_S = 0.05
OURS = "footprint"
"""The name that our own connections have, which are not counted."""
PROCESSES = {"api": "api", "worker": "worker", "up": "supervisor"}
"""Of our own program, by its command."""
SESSIONS = "SELECT pid, datname, application_name FROM pg_stat_activity WHERE backend_type = 'client backend'"
WATCH = "watch"
CLIENTS, POOLED = "pooler_clients", "pooler_servers"

Counts = dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Pss of all processes: what several share is counted once."""

    parts_mb: Mapping[str, float]
    serving_mb: Mapping[Model, float]
    """Of the servers', that of the sessions in databases of a model."""


@dataclass(frozen=True, kw_only=True)
class Disk:
    """Data folders of the servers."""

    servers_mb: Mapping[str, float]
    wal_mb: Mapping[str, float]
    """Of these, the log: its length is bounded, and says how much was written lately."""
    homes_mb: Mapping[Model, float]
    """Of these, the databases of a model."""


def memory(layout: Layout) -> Memory:
    """Of all parts, now."""
    sessions = dict(_sessions(layout))
    parts: dict[str, float] = defaultdict(float)
    serving = dict.fromkeys(Model, 0.0)
    for process, part in _processes(layout.data):
        database, application = sessions.get(int(process.name), ("", ""))
        if application == OURS:
            continue
        with suppress(FileNotFoundError, ProcessLookupError):
            found_mb = pss_mb((process / "smaps_rollup").read_text())
            parts[part] += found_mb
            if (model := model_of(database)) is not None:
                serving[model] += found_mb
    return Memory(parts_mb=parts, serving_mb=serving)


def disk(layout: Layout) -> Disk:
    """Of all servers, once they have written what they hold in memory."""
    homes_mb = dict.fromkeys(Model, 0.0)
    for server in SERVERS:
        with _connect(layout, server) as admin:
            admin.execute("CHECKPOINT")
            for database, size in admin.execute("SELECT datname, pg_database_size(oid) FROM pg_database"):
                if (model := model_of(database)) is not None:
                    homes_mb[model] += size / MIB
    folders = {server: layout.provider.data(server) for server in SERVERS}
    return Disk(
        servers_mb={server: folder_mb(folder) for server, folder in folders.items()},
        wal_mb={server: folder_mb(folder / "pg_wal") for server, folder in folders.items()},
        homes_mb=homes_mb,
    )


def part_of(arguments: Sequence[str], folder: Path, data: Path) -> str | None:
    """Which part of the platform in `data` a process is, by its arguments and working folder; None for any other."""
    if folder.parent == data / "servers" or folder in (data / "pgbouncer", data / "redis"):
        return folder.name
    if str(data) not in arguments or "cli.main" not in arguments:
        return None
    return PROCESSES.get(arguments[arguments.index("cli.main") + 1])


def pss_mb(rollup: str) -> float:
    """Pss of a process in MB, from its smaps_rollup."""
    line = next(line for line in rollup.splitlines() if line.startswith("Pss:"))
    return int(line.split()[1]) / 1024


def model_of(database: str) -> Model | None:
    """Whose homes a database holds, by its name."""
    return next((model for model in Model if database.startswith(f"{model}_")), None)


def folder_mb(folder: Path) -> float:
    """What a folder takes on disk; files may go meanwhile."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += os.lstat(os.path.join(root, name)).st_blocks * 512  # noqa: PTH118 - a third of a million times
    return total / MIB


def most(one: Counts, other: Counts) -> Counts:
    """The larger of each; where one counts nothing, the other's."""
    return {name: max(one.get(name, 0), other.get(name, 0)) for name in {**one, **other}}


class Counter:
    """A process that counts connections when it is asked. Made by `counting`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def now(self) -> Counts:
        """How many there are: clients of the pooler, its own to servers, all of each server's."""
        return self._ask("now")

    def watch(self) -> None:
        """Go on counting, until somebody asks."""
        self._ask(WATCH)

    def most(self) -> Counts:
        """The most of each since `watch`, which ends."""
        return self._ask("most")

    def _ask(self, what: str) -> Counts:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())  # type: ignore[no-any-return]


@contextmanager
def counting(data: Path) -> Iterator[Counter]:
    """Count the connections of the platform in `data` for as long as the block lasts."""
    command = [sys.executable, "-m", "benchmarks.footprint", str(data)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Counter(process)  # Its end closes the pipes, at which the process ends.


def main(data: Path) -> None:
    """Answer each line with what there is now, as JSON; the line after `watch`, with the most there was since."""
    drop_to_owner(data)
    layout = Layout.open(data)
    with ExitStack() as opened:
        admins = {server: opened.enter_context(_connect(layout, server)) for server in SERVERS}
        asked = opened.enter_context(console(layout.settings()))
        for line in sys.stdin:
            found = _count(admins, asked)
            print(json.dumps(found), flush=True)
            if line.strip() == WATCH:
                while not select.select([sys.stdin], [], [], LOOK_S)[0]:
                    found = most(found, _count(admins, asked))
                sys.stdin.readline()
                print(json.dumps(found), flush=True)


def _count(admins: Mapping[str, psycopg.Connection[Any]], asked: Console) -> Counts:
    clients = sum(name != CONSOLE.encode() for (name,) in asked.columns("SHOW CLIENTS", "database"))
    counted = {CLIENTS: clients, POOLED: sum(1 for _ in asked.columns("SHOW SERVERS", "database"))}
    for server, admin in admins.items():
        counted[server] = sum(application != OURS for _, _, application in admin.execute(SESSIONS))
    return counted


def _sessions(layout: Layout) -> Iterator[tuple[int, tuple[str, str]]]:
    """By process, the database and what it calls itself."""
    for server in SERVERS:
        with _connect(layout, server) as admin:
            for process, database, application in admin.execute(SESSIONS):
                yield process, (database or "", application)


def _processes(data: Path) -> Iterator[tuple[Path, str]]:
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            arguments = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if (part := part_of(arguments, (process / "cwd").readlink(), data)) is not None:
                yield process, part


def _connect(layout: Layout, server: str) -> psycopg.Connection[Any]:
    dsn = layout.server(server).dsn(database="postgres", user=SUPERUSER)
    return connect(f"{dsn} application_name={OURS}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
