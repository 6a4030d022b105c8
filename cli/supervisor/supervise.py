"""Starts the parts of a platform in order, watches them, and stops them in reverse, whatever happens in between."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cli.supervisor.keeper import Keeper, PartFailedError
from cli.supervisor.lock import PlatformLock
from cli.supervisor.part import Life, Part
from cli.supervisor.report import Report
from cli.supervisor.signals import Signals

STARTING_TICK_S = 0.02
WATCHING_TICK_S = 1.0
STOPPING_TICK_S = 0.05


@dataclass(frozen=True, kw_only=True)
class Task:
    """Something to do between two parts. May be cut off anywhere by a stop, and is repeated at every start."""

    name: str
    what: str
    run: Callable[[], None]


Step = Part | Task


class Supervisor:
    """One run of a platform: `run` returns when it was stopped, and raises when it could not start or stay up.

    Either way nothing that it started is left behind.
    """

    def __init__(self, report: Report, lock: PlatformLock, signals: Signals) -> None:
        self._report = report
        self._lock = lock
        self._signals = signals
        self._keepers: list[Keeper] = []

    def run(self, steps: Sequence[Step], when_ready: Callable[[], None]) -> None:
        """Take the steps in order, call `when_ready`, keep every part alive until a stop is asked for.

        Raises StopRequested when that came before all was ready.
        """
        try:
            for step in steps:
                self._take(step)
            self._lock.doing("running")
            when_ready()
            self._watch()
        except PartFailedError as error:
            self._say_last_words(error)
            raise
        finally:
            self._stop_all()

    def _take(self, step: Step) -> None:
        self._signals.check()
        self._lock.doing(f"starting {step.name}")
        began = time.monotonic()
        if isinstance(step, Task):
            with self._signals.interrupting():
                step.run()
        else:
            self._start(step)
        self._report.say(f"  {step.name:<10} {step.what:<52} {(time.monotonic() - began) * 1000:6.0f} ms")

    def _start(self, part: Part) -> None:
        keeper = Keeper(part, self._report)
        self._keepers.append(keeper)
        keeper.start()
        while not keeper.ready:
            self._signals.sleep(STARTING_TICK_S)
            self._signals.check()
            self._tick()

    def _watch(self) -> None:
        while not self._signals.stops:
            settled = all(keeper.ready for keeper in self._keepers)
            self._signals.sleep(WATCHING_TICK_S if settled else STARTING_TICK_S)
            self._tick()

    def _tick(self) -> None:
        for keeper in self._keepers:
            keeper.tick()

    def _stop_all(self) -> None:
        lives = [keeper.life for keeper in reversed(self._keepers) if keeper.life is not None]
        for life in lives:
            self._lock.doing(f"stopping {life.part.name}")
            self._stop(life)
        if lives:
            self._report.say("everything is stopped")

    def _stop(self, life: Life) -> None:
        """One signal after the other, each with its time; another stop request means: on to the next at once."""
        for number, patience_s in life.part.stop_with:
            asked, until = self._signals.stops, time.monotonic() + patience_s
            life.send(number)
            while not life.ended() and self._signals.stops == asked and time.monotonic() < until:
                self._signals.sleep(STOPPING_TICK_S)
            if life.ended():
                return
        self._report.say(f"{life.part.name} did not end by itself; killing it")
        life.kill()

    def _say_last_words(self, error: PartFailedError) -> None:
        for line in error.tail:
            self._report.say(f"    {line}")
