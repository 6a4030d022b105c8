"""What the road costs: against a hard-wired handler, over hundreds of silos, and from signup to a working tenant.

Environment: COPYHOLD_BENCH_SILOS (300), COPYHOLD_BENCH_ROUNDS (5).
"""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from psycopg import sql

from benchmarks.load import Figures, Request, get, measure, median
from control_plane.domain.tenant import Model, Plan, Status
from control_plane.registry import servers
from control_plane.registry.engine import transaction
from control_plane.tenants import service
from tests.platform_under_test import (
    PASSWORD,
    PlatformUnderTest,
    TenantUnderTest,
    copyhold,
    free_port,
    running_platform,
)
from tests.waiting import until

SILOS = int(os.environ.get("COPYHOLD_BENCH_SILOS", "300"))
ROUNDS = int(os.environ.get("COPYHOLD_BENCH_ROUNDS", "5"))
MESSAGES = 50
READS = 600
CLIENTS = 16
SPREAD_READS = 3000
CREATIONS = 15
ZIPF_EXPONENT = 1.1
PLAIN = "plain_1"
WIDE_CAP = SILOS + 100


def run() -> dict[str, Any]:
    """All figures. Takes a few minutes."""
    # On disk, as a platform is when it works: tests have theirs in memory.
    with running_platform(folder=Path(tempfile.mkdtemp(prefix="ch-bench-", dir="/tmp"))) as platform:
        figures = _against_hardwired(platform)
        figures |= _creations(platform)
        figures |= _many_silos(platform)
    return figures


def _against_hardwired(platform: PlatformUnderTest) -> dict[str, Any]:
    tenants = {model: platform.tenant(model) for model in Model}
    requests = {str(model): _read_of(tenant, _fill(tenant)) for model, tenant in tenants.items()}
    conversation = _plain_copy(platform, tenants[Model.SILO])
    plain = get(f"/api/conversations/{conversation}/messages?limit={MESSAGES}", "localhost", "-")
    with _hardwired(platform) as port:
        sides = {"hard-wired": (port, plain)} | {name: (platform.port, read) for name, read in requests.items()}
        alone = _in_turn(sides, clients=1)
        crowd = _in_turn(sides, clients=CLIENTS)
    for name in sides:
        _say(f"{name:<10} 1 client: {_told(alone[name])}   {CLIENTS} clients: {_told(crowd[name])}")
    base = alone["hard-wired"].p50_ms
    return {
        "ratio_p50": {str(model): round(alone[str(model)].p50_ms / base, 3) for model in Model},
        "ratio_rps": {str(model): round(crowd[str(model)].rps / crowd["hard-wired"].rps, 3) for model in Model},
    }


def _creations(platform: PlatformUnderTest) -> dict[str, Any]:
    signups = [_timed(partial(_sign_up, platform, number)) for number in range(CREATIONS)]
    silos = [_timed(partial(_create, platform, Model.SILO)) for _ in range(CREATIONS)]
    _say(f"signup to active: {[round(ms) for ms in signups]} ms")
    _say(f"silo to active: {[round(ms) for ms in silos]} ms")
    return {
        "signup_p50_ms": round(statistics.median(signups)),
        "silo_create_p50_ms": round(statistics.median(silos)),
    }


def _many_silos(platform: PlatformUnderTest) -> dict[str, Any]:
    _say(f"making {SILOS} silos")
    with ThreadPoolExecutor(4) as pool:
        silos = list(pool.map(lambda _: platform.tenant(Model.SILO), range(SILOS)))
        reads = [_read_of(silo, found) for silo, found in zip(silos, pool.map(_fill, silos), strict=True)]
    orders = {"one": _always(reads[0]), "zipf": _zipf(reads), "uniform": _uniform(reads)}
    capped = _in_turn(
        {name: (platform.port, pick) for name, pick in orders.items()}, clients=CLIENTS, reads=SPREAD_READS
    )
    most = _most_connections(platform)
    with _second_api(platform) as port:
        for read in reads:
            measure(port, _always(read), requests=1, clients=1)
        live = _in_turn({name: (port, pick) for name, pick in orders.items()}, clients=CLIENTS, reads=SPREAD_READS)
    for name in orders:
        _say(f"{name:<8} capped: {_told(capped[name])}   a live connection each: {_told(live[name])}")
    one = capped["one"].rps
    return {
        "silos": SILOS,
        "silos_rps": {name: round(capped[name].rps) for name in ("zipf", "uniform")},
        "one_tenant_rps": round(one),
        "silos_ratio": {name: round(capped[name].rps / one, 3) for name in ("zipf", "uniform")},
        "live_connections_rps": {name: round(live[name].rps) for name in ("zipf", "uniform")},
        "client_connections_max": most,
    }


def _in_turn(
    sides: Mapping[str, tuple[int, Request | Callable[[int], Request]]], *, clients: int, reads: int = READS
) -> dict[str, Figures]:
    found: dict[str, list[Figures]] = {name: [] for name in sides}
    for round_number in range(ROUNDS + 1):
        for name, (port, what) in sides.items():
            pick = what if callable(what) else _always(what)
            figures = measure(port, pick, requests=reads, clients=clients)
            if round_number:  # The first round warms up.
                found[name].append(figures)
    return {name: median(figures) for name, figures in found.items()}


def _fill(tenant: TenantUnderTest) -> str:
    conversation = tenant.http.post("/api/conversations", json={"subject": "Bench"}).json()["id"]
    with tenant.platform.home_of(tenant) as home:
        home.execute(
            "INSERT INTO messages (tenant_id, id, conversation_id, author_id, body)"
            " SELECT c.tenant_id, gen_random_uuid(), c.id, c.created_by, 'Message number ' || n"
            " FROM conversations c, generate_series(1, %s) n WHERE c.id = %s",
            [MESSAGES, conversation],
        )
        home.execute("ANALYZE messages")
    return str(conversation)


def _read_of(tenant: TenantUnderTest, conversation: str) -> Request:
    return get(f"/api/conversations/{conversation}/messages?limit={MESSAGES}", tenant.host, tenant.key)


def _plain_copy(platform: PlatformUnderTest, silo: TenantUnderTest) -> str:
    """A copy of a silo without any tenancy, served by the same pooler; returns its conversation."""
    home = silo.route.home
    assert home is not None
    with transaction(platform.engine) as session:
        servers.ensure_database(session, "beta", PLAIN, Model.SILO)
    name = sql.Identifier(PLAIN)
    copyhold("pooler", "apply", "--data", str(platform.data))
    with platform.superuser("beta", "postgres") as admin:
        source = sql.Identifier(home.database)
        admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(source))
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [home.database])
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(name, source))
        admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(source))
        admin.execute(sql.SQL("CREATE ROLE {0} LOGIN; GRANT CONNECT ON DATABASE {0} TO {0}").format(name))
    with platform.superuser("beta", PLAIN) as admin:
        for table in ("users", "sessions", "conversations", "messages"):
            admin.execute(sql.SQL("ALTER TABLE {} DISABLE ROW LEVEL SECURITY").format(sql.Identifier(table)))
        admin.execute(sql.SQL("GRANT USAGE ON SCHEMA public TO {0}").format(name))
        admin.execute(sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {0}").format(name))
        admin.execute("CREATE INDEX ON messages (conversation_id, id); ANALYZE")
        row = admin.execute("SELECT conversation_id FROM messages GROUP BY 1 ORDER BY count(*) DESC").fetchone()
    assert row is not None
    return str(row[0])


@contextmanager
def _hardwired(platform: PlatformUnderTest) -> Iterator[int]:
    port = free_port()
    settings = platform.settings
    arguments = [str(port), settings.pooler_host, str(settings.pooler_port), PLAIN]
    with _process([sys.executable, "-m", "benchmarks.hardwired", *arguments], port, {}):
        yield port


@contextmanager
def _second_api(platform: PlatformUnderTest) -> Iterator[int]:
    """Another API process of the same platform, whose cap lets it keep a live connection for every silo."""
    port = free_port()
    settings = platform.settings
    environment = {
        "COPYHOLD_CONTROL_DSN": settings.control_dsn,
        "COPYHOLD_POOLER_HOST": settings.pooler_host,
        "COPYHOLD_POOLER_PORT": str(settings.pooler_port),
        "COPYHOLD_POOLER_DIR": str(settings.pooler_dir),
        "COPYHOLD_MASTER_KEY_FILE": str(settings.master_key_file),
        "COPYHOLD_SNAPSHOT_FILE": str(Path(f"/tmp/copyhold-bench-{port}.json")),
        "COPYHOLD_HTTP_PORT": str(port),
        "COPYHOLD_LIMITS__CLIENT_CONNECTIONS": str(WIDE_CAP),
    }
    with _process([sys.executable, "-m", "cli.main", "api"], port, environment):
        yield port


@contextmanager
def _process(command: list[str], port: int, environment: dict[str, str]) -> Iterator[None]:
    process = subprocess.Popen(command, env={**os.environ, **environment})
    try:
        until(lambda: process.poll() is not None or _listens(port), what=f"port {port} answers")
        yield
    finally:
        process.terminate()
        process.wait(timeout=15)


def _listens(port: int) -> bool:
    try:
        httpx.get(f"http://127.0.0.1:{port}/")
    except httpx.TransportError:
        return False
    return True


def _most_connections(platform: PlatformUnderTest) -> int:
    text = platform.control.get("/metrics").text
    lines = [line for line in text.splitlines() if line.startswith("copyhold_connections_most")]
    return int(float(lines[0].split()[-1]))


def _sign_up(platform: PlatformUnderTest, number: int) -> None:
    form = {
        "company": f"Bench {number}",
        "slug": f"bench-{number}",
        "email": f"owner@bench-{number}.example",
        "password": PASSWORD,
    }
    answer = platform.control.post("/signup", json=form)
    assert answer.status_code == 201, answer.text


def _create(platform: PlatformUnderTest, model: Model) -> None:
    slug = f"b{os.urandom(5).hex()}"
    wish = service.TenantWish(slug=slug, name=slug, plan=Plan.ENTERPRISE, model=model)
    with transaction(platform.engine) as session:
        tenant_id = service.create(session, platform.workflows, wish, "bench").id
    platform.wait_for(tenant_id, Status.ACTIVE)


def _timed(do: Callable[[], None]) -> float:
    started = time.perf_counter()
    do()
    return (time.perf_counter() - started) * 1000


def _always(request: Request) -> Callable[[int], Request]:
    return lambda _: request


def _uniform(requests: list[Request]) -> Callable[[int], Request]:
    chosen = random.Random(7).choices(requests, k=SPREAD_READS)
    return lambda number: chosen[number % len(chosen)]


def _zipf(requests: list[Request]) -> Callable[[int], Request]:
    weights = [1 / rank**ZIPF_EXPONENT for rank in range(1, len(requests) + 1)]
    chosen = random.Random(7).choices(requests, weights, k=SPREAD_READS)
    return lambda number: chosen[number % len(chosen)]


def _told(figures: Figures) -> str:
    return f"{figures.rps:6.0f}/s p50 {figures.p50_ms:5.2f} ms p99 {figures.p99_ms:6.2f} ms"


def _say(line: str) -> None:
    print(line, flush=True)
