"""A small HTTP/1.1 load generator: kept connections, a bounded number of requests, latencies in milliseconds.

A full client library costs more CPU than the server under test; on two cores that would be measured instead.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Request = bytes


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What a run measured."""

    rps: float
    p50_ms: float
    p99_ms: float


def get(path: str, host: str, key: str) -> Request:
    """A GET request as bytes."""
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n\r\n".encode()


def measure(port: int, pick: Callable[[int], Request], *, requests: int, clients: int) -> Figures:
    """Send `requests` requests over `clients` connections; the n-th is `pick(n)`. Any answer but 200 ends the run."""
    return asyncio.run(_measure(port, pick, requests, clients))


def median(figures: Sequence[Figures]) -> Figures:
    """The median of each figure on its own."""
    return Figures(
        rps=statistics.median(figure.rps for figure in figures),
        p50_ms=statistics.median(figure.p50_ms for figure in figures),
        p99_ms=statistics.median(figure.p99_ms for figure in figures),
    )


async def _measure(port: int, pick: Callable[[int], Request], requests: int, clients: int) -> Figures:
    took: list[float] = []
    numbers = iter(range(requests))
    started = time.perf_counter()
    await asyncio.gather(*(_client(port, pick, numbers, took) for _ in range(clients)))
    elapsed = time.perf_counter() - started
    took.sort()
    return Figures(
        rps=len(took) / elapsed, p50_ms=took[len(took) // 2] * 1000, p99_ms=took[len(took) * 99 // 100] * 1000
    )


async def _client(port: int, pick: Callable[[int], Request], numbers: object, took: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for number in numbers:  # type: ignore[attr-defined]
            started = time.perf_counter()
            writer.write(pick(number))
            await _read_answer(reader)
            took.append(time.perf_counter() - started)
    finally:
        writer.close()


async def _read_answer(reader: asyncio.StreamReader) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(head.decode(errors="replace").partition("\r\n")[0])
    length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
    await reader.readexactly(int(length))
