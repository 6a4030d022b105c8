"""The parts of a one-machine platform, in the order in which they start."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from signal import SIGINT, SIGKILL, SIGQUIT, SIGTERM

from cli.supervisor import readiness
from cli.supervisor.part import Part
from cli.supervisor.report import Report
from cli.supervisor.supervise import Step, Task
from cli.supervisor.tools import Tools
from provisioning.files import write_atomically
from provisioning.layout import API_PROCESSES_MAX, POOLER_PORT, SERVERS, Layout, api_name
from provisioning.providers.binaries import environment_for_servers
from provisioning.providers.local import START_TIMEOUT_S

Bootstrap = Callable[[Layout], None]

PURPOSE = {"control": "the roll", "alpha": "pool and bridge tenants", "beta": "silo tenants"}
REDIS_MEMORY_MB = 64


@dataclass(frozen=True, kw_only=True)
class Processes:
    """The commands of our own processes; each gets `--data DIR` appended, and a further API process its number."""

    api: Sequence[str] = (sys.executable, "-m", "cli.main", "api")
    worker: Sequence[str] = (sys.executable, "-m", "cli.main", "worker")


def steps(layout: Layout, tools: Tools, bootstrap: Bootstrap, processes: Processes) -> list[Step]:
    """Everything `up` does, in order. The folders of the servers must exist: see `make_servers`."""
    return [
        *(_server(layout, name) for name in SERVERS),
        Task(name="bootstrap", what="roll, roles, first homes", run=partial(bootstrap, layout)),
        _pgbouncer(layout, tools),
        _redis(layout, tools),
        *(_api(layout, processes, number) for number in range(1, layout.api_processes + 1)),
        _worker(layout, processes),
    ]


def ever_started(layout: Layout, todo: Sequence[Step], processes: Processes) -> list[Part]:
    """All parts that a run before this one may have had: those of now, and as many API processes as there can be."""
    more = range(layout.api_processes + 1, API_PROCESSES_MAX + 1)
    return [
        *(step for step in todo if isinstance(step, Part)),
        *(_api(layout, processes, number) for number in more),
    ]


def make_servers(layout: Layout, report: Report) -> None:
    """The data folders of all servers, made side by side where they are missing, and their configuration."""
    if new := [name for name in SERVERS if not layout.provider.data(name).exists()]:
        report.say(f"making the PostgreSQL servers {', '.join(new)}")
    with ThreadPoolExecutor(max_workers=len(SERVERS)) as pool:
        list(pool.map(layout.provider.ensure, SERVERS))


def _server(layout: Layout, name: str) -> Part:
    provider = layout.provider
    return Part(
        name=name,
        what=f"PostgreSQL {provider.binaries(name).version}: {PURPOSE[name]}",
        command=provider.command(name),
        folder=provider.data(name),
        log=layout.logs / f"{name}.log",
        ready=partial(provider.is_ready, name),
        ready_within_s=START_TIMEOUT_S,
        prepare=partial(provider.release, name),
        stop_with=((SIGINT, 30.0), (SIGQUIT, 10.0)),  # fast, then immediate shutdown
        when_orphaned=SIGINT,
        environment=environment_for_servers(),
    )


def _pgbouncer(layout: Layout, tools: Tools) -> Part:
    return Part(
        name="pgbouncer",
        what=f"PgBouncer {tools.pgbouncer.version}: the way to the homes",
        command=(str(tools.pgbouncer.path), str(layout.pooler / "pgbouncer.ini")),
        folder=layout.pooler,
        log=layout.logs / "pgbouncer.log",
        ready=partial(readiness.pgbouncer_answers, layout.sockets, POOLER_PORT),
        # SIGINT lets running transactions end, in every version; it holds no state that a kill could hurt.
        stop_with=((SIGINT, 3.0),),
        when_orphaned=SIGKILL,
        environment=environment_for_servers(),
        tenants_need_it=True,
    )


def _redis(layout: Layout, tools: Tools) -> Part:
    configuration = layout.redis / "redis.conf"
    return Part(
        name="redis",
        what=f"Redis {tools.redis.version}: counters and news between processes",
        command=(str(tools.redis.path), str(configuration)),
        folder=layout.redis,
        log=layout.logs / "redis.log",
        ready=partial(readiness.redis_answers, layout.redis_socket),
        prepare=partial(write_atomically, configuration, redis_conf(layout)),
        stop_with=((SIGTERM, 5.0),),
        when_orphaned=SIGKILL,
    )


def _api(layout: Layout, processes: Processes, number: int) -> Part:
    which = () if number == 1 else ("--number", str(number))
    mark = layout.api_ready(number)
    return Part(
        name=api_name(number),
        what=f"HTTP on {layout.host}, port {layout.port}",
        command=(*processes.api, "--data", str(layout.data), *which),
        folder=layout.run,
        log=layout.logs / f"{api_name(number)}.log",
        # On the port alone, another one might answer.
        ready=lambda: mark.exists() and readiness.api_answers(layout.host, layout.port),
        ready_within_s=60.0,
        prepare=partial(mark.unlink, missing_ok=True),
        stop_with=((SIGTERM, 15.0),),
        when_orphaned=SIGTERM,
        environment=environment_for_servers(),
        tenants_need_it=number == 1,
    )


def _worker(layout: Layout, processes: Processes) -> Part:
    return Part(
        name="worker",
        what="workflows: homes made, suspended, let in",
        command=(*processes.worker, "--data", str(layout.data)),
        folder=layout.run,
        log=layout.logs / "worker.log",
        ready=layout.worker_ready.exists,
        ready_within_s=60.0,
        prepare=partial(layout.worker_ready.unlink, missing_ok=True),
        stop_with=((SIGTERM, 15.0),),
        when_orphaned=SIGTERM,
        environment=environment_for_servers(),
    )


def redis_conf(layout: Layout) -> str:
    """Unix socket only, nothing on disk: whatever it holds may be lost. It keeps its arguments in `ps`."""
    return f"""\
# Written by Copyhold at every start.
port 0
unixsocket {layout.redis_socket}
unixsocketperm 700
dir "{_quoted(str(layout.redis))}"
appendonly no
save ""
maxmemory {REDIS_MEMORY_MB}mb
maxmemory-policy allkeys-lru
set-proc-title no
"""


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
