"""Requests at a steady pace, each due at its time whatever became of those before it.

As a program, a process of its own, so that nobody else's Python makes it wait: it writes to the tenant's app until its
standard input ends, then prints what came of it.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the program has no use for it, and would take a second of a core to load it
    from tests.platform_under_test import TenantUnderTest

DROPPED = "dropped"
"""Stands for the status of an answer that did not come."""


@dataclass(kw_only=True)
class Paced:
    """What came of the requests. Times in seconds, of the clock that all processes of a machine share."""

    took: list[tuple[float, float]] = field(default_factory=list)
    """When each was due, and how long after that its answer came."""
    late: list[tuple[float, float]] = field(default_factory=list)
    """When each was due for which a client stood ready, and how long after that it was sent: our own fault."""
    promised: list[str] = field(default_factory=list)
    """The ids of what was written, as answered."""
    errors: dict[str, int] = field(default_factory=dict)
    """By status, those that were not."""
    cpu_s: float = 0.0
    """That asking took here."""

    def between(self, begin: float, end: float) -> list[float]:
        """How long those took that were due then."""
        return _between(self.took, begin, end)

    def late_between(self, begin: float, end: float) -> list[float]:
        """How late those were sent that were due then."""
        return _between(self.late, begin, end)

    def longest(self, begin: float, end: float) -> tuple[float, float]:
        """When the one was due that took longest, of those due then, and how long it took."""
        return max((each for each in self.took if begin <= each[0] < end), key=lambda each: each[1])


@contextmanager
def paced(tenant: TenantUnderTest, rate: float, connections: int) -> Iterator[Paced]:
    """Have so many new conversations a second begun; once the block has ended, what came of it."""
    words = (str(tenant.platform.port), tenant.host, tenant.key, str(rate), str(connections))
    command = [sys.executable, "-m", "benchmarks.pacing", *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        found = Paced()
        try:
            yield found
        finally:
            process.stdin.close()
            told = json.loads(process.stdout.read())
            for name, value in told.items():
                setattr(found, name, value)


def _between(figures: Sequence[tuple[float, float]], begin: float, end: float) -> list[float]:
    return [took for due, took in figures if begin <= due < end]


async def _ask(port: int, host: str, key: str, rate: float, connections: int) -> Paced:
    found, errors, numbers = Paced(), Counter[str](), iter(range(1 << 62))
    body = b'{"subject": "something new"}'
    request = (
        f"POST /api/conversations HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    ended = asyncio.ensure_future(asyncio.to_thread(_ended_at))
    print("ready", flush=True)
    began, began_cpu = time.monotonic(), time.process_time()

    async def client() -> None:
        connection = await asyncio.open_connection("127.0.0.1", port)
        for number in numbers:
            due = began + number / rate
            if (ahead_s := due - time.monotonic()) > 0:
                await asyncio.sleep(ahead_s)
                found.late.append((due, time.monotonic() - due))
            if ended.done() and due >= ended.result():  # What was due before is owed: it may have waited longest.
                break
            try:
                status, said = await _answer(*connection, request)
            except (OSError, asyncio.IncompleteReadError):
                status, said = DROPPED, b""
                connection = await asyncio.open_connection("127.0.0.1", port)
            found.took.append((due, time.monotonic() - due))
            if status == "201":
                found.promised.append(json.loads(said)["id"])
            else:
                errors[status] += 1
        connection[1].close()

    await asyncio.gather(*(client() for _ in range(connections)))
    found.errors, found.cpu_s = dict(errors), time.process_time() - began_cpu
    return found


def _ended_at() -> float:
    sys.stdin.read()
    return time.monotonic()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> tuple[str, bytes]:
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    length = next(int(line[16:]) for line in lines if line.startswith(b"content-length: "))
    return lines[0].split()[1].decode(), await reader.readexactly(length)


if __name__ == "__main__":
    port, host, key, rate, connections = sys.argv[1:]
    print(json.dumps(asdict(asyncio.run(_ask(int(port), host, key, float(rate), int(connections))))), flush=True)
