"""A tenant that moves while it works: how long it waits at most, what others notice, what is lost, for every pair.

One tenant is sent through all models and between two servers, and back within the window in which that is possible.
Environment: COPYHOLD_BENCH_MOVE_ROWS (100000,1000000), COPYHOLD_BENCH_MOVE_ROUNDS (3), COPYHOLD_BENCH_MOVE_RATE (200).
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from control_plane.domain.moving import ENDED, Phase
from control_plane.domain.tenant import Model
from control_plane.registry import moves, tenants
from control_plane.registry.engine import transaction
from control_plane.tenants import moving
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest, running_platform
from tests.provisioning.workers import control

ROWS = tuple(int(rows) for rows in os.environ.get("COPYHOLD_BENCH_MOVE_ROWS", "100000,1000000").split(","))
ROUNDS = int(os.environ.get("COPYHOLD_BENCH_MOVE_ROUNDS", "3"))
RATE = float(os.environ.get("COPYHOLD_BENCH_MOVE_RATE", "200"))
CONNECTIONS = 8
REST_S = 8.0
"""So long is nobody moved before and after each move, to have something to hold it against."""
AT_ONCE, HOUR = timedelta(0), timedelta(hours=1)
JOURNEY = (
    (Model.SILO, "beta", AT_ONCE),
    (Model.POOL, "alpha", AT_ONCE),
    (Model.BRIDGE, "alpha", AT_ONCE),
    (Model.SILO, "beta", AT_ONCE),
    (Model.BRIDGE, "alpha", AT_ONCE),
    (Model.POOL, "alpha", AT_ONCE),
    (Model.SILO, "alpha", AT_ONCE),
    (Model.SILO, "beta", HOUR),
)
FILL = """
INSERT INTO conversations (tenant_id, id, subject, created_by)
SELECT %(tenant)s, gen_random_uuid(), 'conversation ' || n, (SELECT id FROM users WHERE tenant_id = %(tenant)s LIMIT 1)
  FROM generate_series(1, %(rows)s) AS n
"""


def run() -> dict[str, Any]:
    """Medians of the rounds, a case each pair and size."""
    found: dict[tuple[str, int], list[dict[str, Any]]] = {}
    folder = Path(tempfile.mkdtemp(prefix="ch-bench-", dir="/tmp"))
    with running_platform(folder=folder) as platform:
        with control(platform) as connection:
            connection.execute("UPDATE servers SET models = '{pool,bridge,silo}'")
        for rows in ROWS:
            for _ in range(ROUNDS):
                for figures in _journey(platform, rows):
                    found.setdefault((figures["case"], rows), []).append(figures)
    return {"cases": [_median(each) for each in found.values()]}


def _journey(platform: PlatformUnderTest, rows: int) -> Iterator[dict[str, Any]]:
    traveller, other = platform.tenant(Model.POOL), platform.tenant(Model.POOL)
    with platform.home_of(traveller) as home:
        home.execute(FILL, {"tenant": traveller.id, "rows": rows})
        home.execute("ANALYZE")
    was = "pool"
    for model, server, window in JOURNEY:
        name = f"{was} -> {model}" + (f" {server}" if was == model else "")
        yield _case(name, rows, traveller, other, lambda: _begin(traveller, model, server, window))  # noqa: B023
        was = str(model)
    yield _case("back", rows, traveller, other, lambda: _back(traveller))


def _case(name: str, rows: int, traveller: TenantUnderTest, other: TenantUnderTest, begin: Any) -> dict[str, Any]:
    with _asking(traveller, RATE, CONNECTIONS) as mine, _asking(other, RATE / 2, CONNECTIONS // 2) as theirs:
        time.sleep(REST_S)
        began = time.monotonic()
        begin()
        ended = time.monotonic()
        time.sleep(REST_S / 2)
    before, during = mine.between(0, began), mine.between(began, ended + 1)
    with traveller.platform.home_of(traveller) as home:
        found = home.execute("SELECT id::text FROM conversations WHERE tenant_id = %s", [traveller.id]).fetchall()
    there = [row for (row,) in found]
    with transaction(traveller.platform.engine) as session:
        frozen_ms = moves.of_tenant(session, traveller.id, 1)[0].stall_ms
    figures = {
        "case": name,
        "rows": rows,
        "stall_ms": round(max(during) * 1000, 1),
        "frozen_ms": frozen_ms,
        "rest_p99_ms": round(_p99(before) * 1000, 1),
        "others_p99_ratio": round(_p99(theirs.between(began, ended)) / _p99(theirs.between(0, began)), 2),
        "total_s": round(ended - began, 2),
        "lost": len(mine.promised - set(there)),
        "doubled": len(there) - len(set(there)),
        "errors": mine.errors + theirs.errors,
    }
    print(json.dumps(figures), flush=True)
    return figures


@dataclass
class _Asked:
    """What clients were answered: when each request was due, and how long after that its answer came."""

    took: list[tuple[float, float]] = field(default_factory=list)
    promised: set[str] = field(default_factory=set)
    errors: int = 0

    def between(self, begin: float, end: float) -> list[float]:
        """Of requests that were due then."""
        return [took for due, took in self.took if begin <= due < end]


@contextmanager
def _asking(tenant: TenantUnderTest, rate: float, connections: int) -> Iterator[_Asked]:
    asked, stopping = _Asked(), threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(_ask(tenant, rate, connections, asked, stopping)))
    thread.start()
    try:
        yield asked
    finally:
        stopping.set()
        thread.join()


async def _ask(
    tenant: TenantUnderTest, rate: float, connections: int, asked: _Asked, stopping: threading.Event
) -> None:
    began, numbers = time.monotonic(), iter(range(1 << 62))
    body = json.dumps({"subject": "something new"}).encode()
    head = (
        f"POST /api/conversations HTTP/1.1\r\nHost: {tenant.host}\r\nAuthorization: Bearer {tenant.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", tenant.platform.port)
        for number in numbers:
            due = began + number / rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if stopping.is_set():
                break
            writer.write(head + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = next(
                int(line[16:]) for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length: ")
            )
            said = await reader.readexactly(length)
            asked.took.append((due, time.monotonic() - due))
            if answer.startswith(b"HTTP/1.1 201"):
                asked.promised.add(json.loads(said)["id"])
            else:
                asked.errors += 1
        writer.close()

    await asyncio.gather(*(client() for _ in range(connections)))


def _begin(tenant: TenantUnderTest, model: Model, server: str, window: timedelta) -> None:
    platform = tenant.platform
    with transaction(platform.engine) as session:
        row = tenants.get(session, tenant.id, lock=True)
        move = moving.request(session, platform.workflows, row, "bench", model=model, server=server, undo_window=window)
    _await(tenant, move.id, ENDED if not window else {Phase.KEPT})


def _back(tenant: TenantUnderTest) -> None:
    with transaction(tenant.platform.engine) as session:
        move = moving.back(session, tenant.platform.workflows, tenants.get(session, tenant.id, lock=True), "bench")
    _await(tenant, move.id, ENDED)


def _await(tenant: TenantUnderTest, move_id: Any, phases: Any) -> None:
    while True:
        with transaction(tenant.platform.engine) as session:
            row = moves.get(session, move_id)
        if row.phase == Phase.CALLED_OFF:
            raise RuntimeError(f"called off: {row.reason}")
        if row.phase in phases:
            return
        time.sleep(0.1)


def _p99(took: list[float]) -> float:
    return sorted(took)[len(took) * 99 // 100]


def _median(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Of each figure on its own; what must be nothing is the worst."""
    worst = {name: max(each[name] for each in rounds) for name in ("lost", "doubled", "errors")}
    middle = ("stall_ms", "frozen_ms", "rest_p99_ms", "others_p99_ratio", "total_s")
    return {**rounds[0], **{name: statistics.median(each[name] for each in rounds) for name in middle}, **worst}
