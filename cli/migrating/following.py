"""A run over the fleet as people and programs watch it, and how ctrl-C ends it."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from signal import SIGINT, SIGTERM
from typing import TYPE_CHECKING

import typer

from cli import fleet, output
from cli.interrupts import held
from cli.wiring import Platform
from migrations.fleet.crew import Outcome
from migrations.fleet.events import Began, Event, Hands, Report, WaveBegan, WaveEnded
from provisioning.probing import prober

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

Run = Callable[[Hands], Report]
Watch = Callable[[Event], None]


def followed(platform: Platform, run: Run, *, as_json: bool, approve: bool = False) -> Report:
    """Do it, telling what happens: events, a line each, or progress. Ctrl-C ends it when what is in flight has."""
    watching = _events() if as_json else _live() if sys.stdout.isatty() else _lines()
    with _stopping() as stop, watching as tell:
        asked = _asked if approve else None
        return run(Hands(tell=tell, stop=stop, approve=asked, probe=prober(platform.estate)))


@contextmanager
def _stopping() -> Iterator[threading.Event]:
    """Set by ctrl-C and SIGTERM; a second one ends the command at once."""
    stop = threading.Event()

    def ask() -> None:
        stop.set()
        output.note("stopping: what is in flight is finished, nothing else begins (again: stop at once)")

    with held(SIGINT, SIGTERM, at_first=ask):
        yield stop


def _asked(wave: int) -> bool:
    return typer.confirm(f"go on with wave {wave}?", err=True)


@contextmanager
def _events() -> Iterator[Watch]:
    yield lambda event: output.print_event(fleet.event_shown(event))


@contextmanager
def _lines() -> Iterator[Watch]:
    """Failures as they come, now and then a count."""
    with ExitStack() as stack:
        count: list[output.Tell] = []

        def tell(event: Event) -> None:
            match event:
                case Began(plan=plan):
                    count.append(stack.enter_context(output.progress("migrating", len(plan.steps), counting=True)))
                case Outcome():
                    count[0](_failure(event))
                case WaveEnded(stopped=str(reason)):
                    output.say(f"stopped: {reason}")

        yield tell


@contextmanager
def _live() -> Iterator[Watch]:
    """A bar for the whole and one for each server, with rate, time left and failures; failures stay above them."""
    # Imported here: only a terminal needs it.
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[failed]}"),
    )
    with Progress(*columns, transient=True) as bars:
        yield _Bars(bars).tell


class _Bars:
    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._of: dict[str, TaskID] = {}
        self._failed: Counter[str] = Counter()
        self._waves = 1

    def tell(self, event: Event) -> None:
        match event:
            case Began(plan=plan):
                self._waves = max(wave.number for wave in plan.waves)
                self._add("fleet", len(plan.steps))
                for server, steps in Counter(step.target.server for step in plan.steps).items():
                    self._add(server, steps)
            case WaveBegan(number=number):
                named = "homes" if number == 0 else f"wave {number} of {max(number, self._waves)}"
                self._bars.update(self._of["fleet"], description=named)
            case Outcome():
                self._outcome(event)
            case WaveEnded(stopped=str(reason)):
                self._bars.console.print(f"stopped: {reason}", markup=False, highlight=False)

    def _add(self, name: str, total: int) -> None:
        self._of[name] = self._bars.add_task(name, total=total, rate="", failed="")

    def _outcome(self, outcome: Outcome) -> None:
        if (line := _failure(outcome)) is not None:
            self._bars.console.print(line, markup=False, highlight=False)
        for name in ("fleet", outcome.step.target.server):
            self._failed[name] += bool(outcome.error)
            task = self._bars.tasks[self._of[name]]
            rate = f"{task.speed:.0f}/s" if task.speed else ""
            failed = f"{self._failed[name]} failed" if self._failed[name] else ""
            self._bars.update(self._of[name], advance=1, rate=rate, failed=failed)


def _failure(outcome: Outcome) -> str | None:
    target = outcome.step.target
    return f"failed: {target.server} / {target.database} / {target.schema}: {outcome.error}" if outcome.error else None
