"""Keeps one part alive: starts it again when it ends, ever more slowly.

One without which nobody is served is given up on when it cannot stand. Any other is tried for ever once it has stood:
whom it is missing to waits for it, and everybody else goes on being served.
"""

from __future__ import annotations

import time

from cli.supervisor.part import Life, Part
from cli.supervisor.report import Report
from control_plane.domain.errors import SetupError

QUICK_DEATHS = 5
"""In a row; the next start would end the same way."""
STANDS_AFTER_S = 1.0
"""A part that was ready for so long stood: its later end starts the count anew."""
LONGEST_REST_S = 5.0


class PartFailedError(SetupError):
    """A part of the platform does not stay up."""

    code = "part_failed"

    def __init__(self, part: Part, trouble: str, tail: list[str]) -> None:
        super().__init__(f"{part.name}: {trouble}; its log is {part.log}", part=part.name)
        self.tail = tail


class Keeper:
    """One part, watched. `tick` never blocks for longer than the part's own readiness check."""

    def __init__(self, part: Part, report: Report) -> None:
        self.part = part
        self.life: Life | None = None
        self.ready = False
        self._report = report
        self._ever_ready = False
        self._ready_at = 0.0
        self._quick_deaths = 0
        self._rest_until = 0.0

    def start(self) -> None:
        self.ready = False
        try:
            self.life = Life(self.part)
        except OSError as error:
            self._count_death(f"could not start ({error})", [])

    def tick(self) -> None:
        """Look, and do what is due. Raises PartFailedError when a first start fails or restarts are of no use."""
        if self.life is None:
            if time.monotonic() >= self._rest_until:
                self.start()
        elif self.life.ended():
            self._count_death(f"ended with {self.life.end()}", self.life.tail())
        elif not self.ready:
            self._look(self.life)

    def _look(self, life: Life) -> None:
        if self.part.ready() and not life.ended():
            self.ready, self._ready_at = True, time.monotonic()
            if self._ever_ready:
                self._report.say(f"{self.part.name} is back after {life.age_s * 1000:.0f} ms")
            self._ever_ready = True
        elif life.age_s > self.part.ready_within_s:
            life.kill()
            self._count_death(f"was not ready within {self.part.ready_within_s:.0f} s", life.tail())

    def _count_death(self, how: str, tail: list[str]) -> None:
        stood = self.ready and time.monotonic() - self._ready_at >= STANDS_AFTER_S
        self._quick_deaths = 1 if stood else self._quick_deaths + 1
        self.life, self.ready = None, False
        if not self._ever_ready:
            raise PartFailedError(self.part, how, tail)
        if self._quick_deaths >= QUICK_DEATHS and self.part.tenants_need_it:
            raise PartFailedError(self.part, f"{how}, {self._quick_deaths} times in a row", tail)
        self._report.say(f"{self.part.name} {how}; starting it again")
        self._rest_until = time.monotonic() + rest_s(self._quick_deaths)


def rest_s(quick_deaths: int) -> float:
    """How long to wait before the next start: not at all at first, then doubling."""
    return 0.0 if quick_deaths <= 1 else min(LONGEST_REST_S, 0.1 * 2.0 ** min(quick_deaths, QUICK_DEATHS + 1))
