"""Working beside people who wait: long work on a tenant's rows rests after each piece of it, in proportion."""

from __future__ import annotations

import time
from collections.abc import Callable

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
        self._share, self._rests = share, 1 / share - 1
        self._clock, self._sleep = clock, sleep
        self._since = clock()

    def begin(self) -> None:
        """What has passed until now was no work."""
        self._since = self._clock()

    def rest(self) -> None:
        """A piece is done, since the last rest or `begin`. To be called every few milliseconds of work."""
        if self._rests:
            self._sleep(min((self._clock() - self._since) * self._rests, REST_MAX_S))
            self.begin()

    def hurried(self) -> Duty:
        """At twice the share: for work that did not get ahead of what comes to it."""
        return Duty(min(1.0, 2 * self._share), clock=self._clock, sleep=self._sleep)


def at_once() -> Duty:
    """Without a rest: somebody waits for the end."""
    return Duty(1.0)
