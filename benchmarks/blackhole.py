"""One silo's server falls silent under load: what the other tenants notice, and how soon the silo is back.

Every process of the silo's server is stopped where it is, so that whatever is sent there is swallowed. Before and
during that the same tenants ask at the same pace. Environment: COPYHOLD_BENCH_ROUNDS (3), COPYHOLD_BENCH_SECONDS (15).
"""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.load import get
from tests.parts import postmaster
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest, running_platform

ROUNDS = int(os.environ.get("COPYHOLD_BENCH_ROUNDS", "3"))
SECONDS = float(os.environ.get("COPYHOLD_BENCH_SECONDS", "15"))
NEIGHBOURS = ("pool", "pool", "pool", "bridge", "bridge")
CLIENTS_A_NEIGHBOUR = 2
CLIENTS_OF_THE_SILO = 20
PACE_S = 0.2
"""A client asks so often at most: asked without a pause, the two cores of a small machine would be measured."""
SETTLING_S = 3.0
GIVEN_UP_AFTER_S = 60.0
HANGS = 0
"""Stands for the status of an answer that did not come."""


@dataclass
class Asked:
    """What came of one kind of clients' requests."""

    took_s: list[float] = field(default_factory=list)
    refused: dict[int, int] = field(default_factory=dict)
    """By status, those that were not answered 200."""

    @property
    def p99_ms(self) -> float:
        """Of those that were served."""
        return sorted(self.took_s)[len(self.took_s) * 99 // 100] * 1000


@dataclass(frozen=True, kw_only=True)
class Round:
    """Before and during, and the seconds from the server's return to the silo's first answer."""

    before: Asked
    during: Asked
    silo: Asked
    recovered_s: float


def run() -> dict[str, Any]:
    """All figures. Takes about two minutes."""
    with running_platform() as platform:
        silo = platform.tenant("silo")
        neighbours = [platform.tenant(model) for model in NEIGHBOURS]
        rounds = []
        for number in range(ROUNDS):
            rounds.append(each := asyncio.run(_round(platform, silo, neighbours)))
            print(
                f"round {number + 1}: the others' p99 {each.before.p99_ms:6.1f} ms before,"
                f" {each.during.p99_ms:6.1f} ms during; their refusals {each.before.refused | each.during.refused};"
                f" the silo's {each.silo.refused}; it was back after {each.recovered_s:.2f} s",
                flush=True,
            )
    return {
        "others_p99_ratio": round(statistics.median(each.during.p99_ms / each.before.p99_ms for each in rounds), 2),
        "others_errors": sum(sum(asked.refused.values()) for each in rounds for asked in (each.before, each.during)),
        "others_asked": sum(len(asked.took_s) for each in rounds for asked in (each.before, each.during)),
        "silo_hung": sum(each.silo.refused.get(HANGS, 0) for each in rounds),
        "recovered_s": round(max(each.recovered_s for each in rounds), 2),
    }


async def _round(platform: PlatformUnderTest, silo: TenantUnderTest, neighbours: Sequence[TenantUnderTest]) -> Round:
    ended = asyncio.Event()
    before, during, of_silo = Asked(), Asked(), Asked()
    now = {"silo": of_silo, "others": Asked()}
    askers = [(silo, "silo")] * CLIENTS_OF_THE_SILO + [(each, "others") for each in neighbours] * CLIENTS_A_NEIGHBOUR
    clients = [asyncio.ensure_future(_client(tenant, now, kind, ended)) for tenant, kind in askers]
    await asyncio.sleep(SETTLING_S)
    now["others"] = before
    await asyncio.sleep(SECONDS)
    now["others"] = during
    with _silent(platform, "beta"):
        await asyncio.sleep(SECONDS)
    recovered_s = await _back(silo)
    ended.set()
    await asyncio.gather(*clients)
    return Round(before=before, during=during, silo=of_silo, recovered_s=recovered_s)


async def _client(tenant: TenantUnderTest, now: Mapping[str, Asked], kind: str, ended: asyncio.Event) -> None:
    while not ended.is_set():
        began, asked = time.perf_counter(), now[kind]
        status = await _ask(tenant)
        took = time.perf_counter() - began
        if status == 200:
            asked.took_s.append(took)
        else:
            asked.refused[status] = asked.refused.get(status, 0) + 1
        await asyncio.sleep(max(0.0, PACE_S - took))


async def _ask(tenant: TenantUnderTest) -> int:
    """The status of one request on a connection of its own; HANGS when there is no answer."""
    with suppress(OSError, asyncio.IncompleteReadError):
        reader, writer = await asyncio.open_connection("127.0.0.1", tenant.platform.port)
        try:
            writer.write(get("/api/conversations", tenant.host, tenant.key))
            async with asyncio.timeout(GIVEN_UP_AFTER_S):
                return int((await reader.readuntil(b"\r\n\r\n")).split()[1])
        finally:
            writer.close()
    return HANGS


async def _back(tenant: TenantUnderTest) -> float:
    began = time.perf_counter()
    while True:
        if await _ask(tenant) == 200:
            return time.perf_counter() - began
        await asyncio.sleep(PACE_S)


@contextmanager
def _silent(platform: PlatformUnderTest, server: str) -> Iterator[None]:
    """The server and all its processes are stopped where they are."""
    head = postmaster(platform, server)
    os.kill(head, signal.SIGSTOP)  # first: it makes no new ones then
    children = Path(f"/proc/{head}/task/{head}/children").read_text().split()
    stopped = [head, *map(int, children)]
    for pid in stopped[1:]:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in stopped:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
