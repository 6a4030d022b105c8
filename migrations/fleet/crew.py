"""Many steps at once: threads, each with a connection to one database at a time, never more on a server than allowed.

A thread stays with a database for as long as there is work in it: a thousand schemas cost eight connections.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass

from migrations.fleet.plan import Step, Target
from migrations.fleet.replay import Database

AT_ONCE_MAX = 16
"""On all servers together: two cores drive no more."""
FLUSH_S = 0.5
"""How long outcomes are gathered before they are told: every telling has the whole platform look at its routes anew.
A crash loses what was not told, and nothing else.
"""
BATCH = 250
Place = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one step."""

    step: Step
    error: str | None
    duration_ms: int
    attempts: int = 1
    revision: str | None = None
    """Where the target is now: past the step's revision when another run was there before, on the way to it when it
    failed. None when that could not be seen.
    """


class Halt(threading.Event):
    """Set by too many failures, or by the event behind it."""

    def __init__(self, behind: threading.Event, allowed: int) -> None:
        super().__init__()
        self._behind, self._left, self._counting = behind, allowed, threading.Lock()

    def count_failure(self) -> None:
        with self._counting:
            self._left -= 1
            if self._left < 0:
                self.set()

    def is_set(self) -> bool:
        return super().is_set() or self._behind.is_set()


_Told = queue.SimpleQueue["Outcome | BaseException | None"]
"""What threads tell: outcomes, an error that nobody foresaw, None at a thread's end."""


class Crew:
    """Carries out steps. `do` gets an open database, or the reason why it could not be opened."""

    def __init__(
        self,
        *,
        at_once: int,
        open_database: Callable[[Target], Database],
        do: Callable[[Database | Exception, Step], Outcome],
        stop: threading.Event,
    ) -> None:
        self._at_once, self._open, self._do, self._stop = at_once, open_database, do, stop
        self._turn = threading.Condition()
        self._waiting: dict[Place, deque[Step]] = {}
        self._on_server: Counter[str] = Counter()

    def carry_out(self, steps: Sequence[Step]) -> Generator[list[Outcome], None, None]:
        """Outcomes as they arrive. Once `stop` is set nothing begins any more; what was begun is finished and told.

        So it is after an error that nobody foresaw, which is raised at the end.
        """
        for step in steps:
            self._waiting.setdefault((step.target.server, step.target.database), deque()).append(step)
        told: _Told = queue.SimpleQueue()
        servers = len({server for server, _ in self._waiting})
        size = min(len(steps), AT_ONCE_MAX, self._at_once * servers)
        threads = [threading.Thread(target=self._work, args=(told,), name=f"fleet-{n}") for n in range(size)]
        for thread in threads:
            thread.start()
        try:
            yield from _batches(told, len(threads))
        finally:
            self._begin_no_more()
            for thread in threads:
                thread.join()

    def _work(self, told: _Told) -> None:
        try:
            while (step := self._elsewhere()) is not None:
                self._work_in((step.target.server, step.target.database), step, told)
        except BaseException as error:  # noqa: BLE001 - raised where the outcomes are read: nobody sees a thread's
            self._begin_no_more()
            told.put(error)
        finally:
            told.put(None)

    def _work_in(self, place: Place, first: Step, told: _Told) -> None:
        step: Step | None = first
        database = self._opened(first.target)
        try:
            while step is not None:
                told.put(self._do(database, step))
                step = self._here(place)
                if step is not None and (not isinstance(database, Database) or database.connection.broken):
                    database = self._opened(step.target)
        finally:
            if isinstance(database, Database):
                database.close()
            self._leave(place[0])

    def _opened(self, target: Target) -> Database | Exception:
        try:
            return self._open(target)
        except Exception as error:  # noqa: BLE001 - told as the reason why each of its targets failed
            return error

    def _here(self, place: Place) -> Step | None:
        """The next step of the same database."""
        with self._turn:
            return self._taken(place) if self._waiting.get(place) and not self._stop.is_set() else None

    def _elsewhere(self) -> Step | None:
        """A step of a database on a server that has room; None when there is nothing left to begin."""
        with self._turn:
            while self._waiting and not self._stop.is_set():
                for place in self._waiting:
                    if self._on_server[place[0]] < self._at_once:
                        self._on_server[place[0]] += 1
                        return self._taken(place)
                self._turn.wait(timeout=1)
            return None

    def _taken(self, place: Place) -> Step:
        step = self._waiting[place].popleft()
        if not self._waiting[place]:
            del self._waiting[place]
        return step

    def _begin_no_more(self) -> None:
        with self._turn:
            self._waiting.clear()
            self._turn.notify_all()

    def _leave(self, server: str) -> None:
        with self._turn:
            self._on_server[server] -= 1
            self._turn.notify_all()


def _batches(told: _Told, threads: int) -> Iterator[list[Outcome]]:
    """What threads tell, in batches: when one is full, when the first in it has waited for FLUSH_S, and at the end."""
    batch: list[Outcome] = []
    until, unforeseen = 0.0, None
    while threads:
        try:
            outcome = told.get(timeout=max(0.0, until - time.monotonic()) if batch else None)
            if isinstance(outcome, BaseException):
                unforeseen = unforeseen or outcome
                continue
            if outcome is None:
                threads -= 1
                continue
            until = until if batch else time.monotonic() + FLUSH_S
            batch.append(outcome)
            if len(batch) < BATCH:
                continue
        except queue.Empty:
            pass
        yield batch
        batch = []
    if batch:
        yield batch
    if unforeseen is not None:
        raise unforeseen
