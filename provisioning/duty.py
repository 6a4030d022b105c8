"""Working beside people who wait: long work on a tenant's rows rests after each piece of it, in proportion.

On a machine that is nearly full it rests for longer.
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


FULL = 0.85
"""Of all processors' time. With more of it in use, whoever serves waits for a processor now and then."""
LEAST = 0.2
"""Of its share has the work at least, however full the machine is."""
LOOK_S = 0.25
"""Between two looks: the kernel counts in hundredths of a second."""
FASTER, SLOWER = 1.25, 0.5

Ticks = tuple[int, int]
"""Of all processors so far: those in use, and all."""


def count_ticks() -> Ticks:
    """As the kernel of this machine counts them; time that other machines on the same host had counts as used."""
    with Path("/proc/stat").open("rb") as file:
        user, nice, system, idle, waiting, *others = map(int, file.readline().split()[1:9])
    used = user + nice + system + sum(others)
    return used, used + idle + waiting


class Duty:
    """A duty cycle: at work for a share of the time. What takes longer is rested from for longer."""

    def __init__(
        self,
        share: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
        ticks: Callable[[], Ticks] = count_ticks,
    ) -> None:
        """`share` from above 0 to 1, which is without a rest; less of it while the machine is full."""
        self._most = self._share = share
        self._clock, self._sleep, self._ticks = clock, sleep, ticks
        self._since = self._looked = clock()
        self._counted = ticks()

    @property
    def rests(self) -> bool:
        """Whether it ever does: if not, somebody waits for the end."""
        return self._most < 1

    def begin(self, *connections: Connection) -> None:
        """What has passed until now was no work. From now on those connections do it, and nothing that is urgent."""
        if self.rests:
            for connection in connections:
                give_way(connection)
        self._since = self._clock()

    def rest(self) -> None:
        """A piece is done, since the last rest or `begin`. To be called every few milliseconds of work."""
        if self.rests:
            self._sleep(min((self._clock() - self._since) * (1 / self._share - 1), REST_MAX_S))
            if self._clock() - self._looked >= LOOK_S:
                self._look()
            self.begin()

    def hurried(self) -> Duty:
        """At twice the share: for work that did not get ahead of what comes to it."""
        return Duty(min(1.0, 2 * self._most), clock=self._clock, sleep=self._sleep, ticks=self._ticks)

    def _look(self) -> None:
        """More of the time from now on, or less: whether the machine was full since the last look decides."""
        (used_before, all_before), self._counted = self._counted, self._ticks()
        used, all_ = self._counted
        is_full = used - used_before > FULL * (all_ - all_before)
        share = self._share * (SLOWER if is_full else FASTER)
        self._share = min(self._most, max(share, self._most * LEAST))
        self._looked = self._clock()


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
