"""Keeps a home that does not answer from using up what all homes share.

Whoever opens a connection to a home that is down waits until a time-out, and holds a place on the road meanwhile. So
requests that are on their way into one database may take a part of all places and no more, nor may those into all the
databases of one server; and after a few failures in a row the next ones are told at once, while one at a time goes and
looks whether the home is back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from control_plane.domain.errors import CopyholdError
from control_plane.routing.connections import Key
from control_plane.routing.refusals import BusyError, HomeDownError, TooSlowError

FAILURES_MAX = 3
"""In a row: one may be an accident of a single connection."""
DOWN_S = 1.0
"""How long nobody tries after a failure; PgBouncer itself tries again once a second."""


@dataclass
class _Gate:
    places: asyncio.Semaphore
    waiting: int = 0
    failures: int = 0
    shut_until: float = 0.0

    def refuse_if_shut(self) -> None:
        if self.failures >= FAILURES_MAX and time.monotonic() < self.shut_until:
            raise HomeDownError

    @contextmanager
    def watched(self) -> Iterator[None]:
        try:
            yield
        except HomeDownError:
            self.failures += 1
            self.shut_until = time.monotonic() + DOWN_S
            raise
        except (BusyError, TooSlowError):
            raise  # tells nothing of the home
        except CopyholdError:
            self.failures = 0  # a refusal is an answer
            raise
        self.failures = 0


class Gates:
    """A gate a database; each lets a quarter of all `places` be on their way in, those of one server together half.

    Belongs to one event loop.
    """

    def __init__(self, *, places: int, waiters: int, wait_s: float, look_s: float) -> None:
        self._of_server = max(1, places // 2)
        # Fewer than FAILURES_MAX would take the longer to learn that it is down.
        self._of_home = min(self._of_server, max(FAILURES_MAX, places // 4))
        self._waiters_max, self._wait_s, self._look_s = waiters, wait_s, look_s
        self._gates: dict[Key, _Gate] = {}
        self._servers: dict[str, asyncio.Semaphore] = {}

    @asynccontextmanager
    async def passage(self, key: Key, server: str) -> AsyncIterator[None]:
        """On the way in. HomeDownError at once while the home is known to be down; BusyError after too long a wait."""
        gate = self._gates.get(key)
        if gate is None:
            gate = self._gates[key] = _Gate(asyncio.Semaphore(self._of_home))
        if server not in self._servers:
            self._servers[server] = asyncio.Semaphore(self._of_server)
        gate.refuse_if_shut()
        await self._wait(gate, self._servers[server])
        try:
            gate.refuse_if_shut()
            if gate.failures >= FAILURES_MAX:
                # This one goes and looks; for as long as that may take nobody else does.
                gate.shut_until = time.monotonic() + self._look_s
            with gate.watched():
                yield
        finally:
            self._servers[server].release()
            gate.places.release()

    async def _wait(self, gate: _Gate, of_server: asyncio.Semaphore) -> None:
        if gate.places.locked() and gate.waiting >= self._waiters_max:
            raise BusyError(waiting=gate.waiting)
        gate.waiting += 1
        try:
            async with asyncio.timeout(self._wait_s):
                await gate.places.acquire()
                try:
                    await of_server.acquire()
                except BaseException:
                    gate.places.release()
                    raise
        except TimeoutError as error:
            raise BusyError(waited_s=self._wait_s) from error
        finally:
            gate.waiting -= 1
