"""Working beside people who wait: long work on a tenant's rows rests after each piece of it, in proportion.

Where a server is reached by a socket of this machine, its processes that do the work give way to all others besides.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from provisioning.roles import MOVER, Connection

NICENESS = 10
REST_MAX_S = 2.0
"""At a time: a piece that waited long for a lock has cost nobody anything."""


class Duty:
    """A duty cycle: at work for a share of the time. What takes longer is rested from for longer."""

    def __init__(
        self,
        share: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """`share` from above 0 to 1, which is without a rest."""
        self._share, self._ratio = share, 1 / share - 1
        self._clock, self._sleep = clock, sleep
        self._since = clock()

    @property
    def rests(self) -> bool:
        """Whether it ever does: if not, somebody waits for the end."""
        return self._ratio > 0

    def begin(self, *connections: Connection) -> None:
        """What has passed until now was no work. From now on those connections do it, and nothing that is urgent."""
        if self.rests:
            for connection in connections:
                give_way(connection)
        self._since = self._clock()

    def rest(self) -> None:
        """A piece is done, since the last rest or `begin`. To be called every few milliseconds of work."""
        if self.rests:
            self._sleep(min((self._clock() - self._since) * self._ratio, REST_MAX_S))
            self.begin()

    def hurried(self) -> Duty:
        """At twice the share: for work that did not get ahead of what comes to it."""
        return Duty(min(1.0, 2 * self._share), clock=self._clock, sleep=self._sleep)


def give_way(connection: Connection) -> None:
    """Have the server's process of a direct connection of the mover's yield to others; only where it is one of ours.

    Another machine's processes have the same numbers: one that is reached by TCP is left alone, wherever it is.
    """
    if not connection.info.host.startswith("/"):
        return
    process = connection.info.backend_pid
    with suppress(OSError):
        # Behind a socket there may be another container's numbers.
        if f" {MOVER} ".encode() in Path(f"/proc/{process}/cmdline").read_bytes():
            os.setpriority(os.PRIO_PROCESS, process, NICENESS)


def at_once() -> Duty:
    """Without a rest: somebody waits for the end."""
    return Duty(1.0)
