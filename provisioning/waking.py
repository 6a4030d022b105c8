"""Waking the engine's queue when work has come, rather than have it find out at its next poll.

The engine has no way of its own for that: it polls, and a poll every 100 ms adds 50 ms to the start of everything, on
average. So this process runs the engine's own loop for the queue and hands it the event by which it is stopped; its
wait for that event ends early when the bell is rung. All limits and orders of the queue stay the engine's; a bell that
nobody heard costs the time until the next poll.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from dbos import DBOS, Queue
from dbos._queue import queue_worker_thread

AGAIN_S = 1.0
FREED_AFTER_S = (0.02, 0.2)
"""A workflow has its place among those that run at once for so long after its last step: its end is being recorded.

The second is for a machine that has other things to do.
"""


class Bell(threading.Event):
    """An event whose wait also ends when it is rung."""

    def __init__(self) -> None:
        super().__init__()
        self._rung = threading.Event()

    def ring(self) -> None:
        """Have whoever waits look for work now."""
        self._rung.set()

    def ring_soon(self) -> None:
        """Ring when a workflow that has just ended has left its place to another."""
        for after_s in FREED_AFTER_S:
            threading.Timer(after_s, self.ring).start()

    def set(self) -> None:
        """Have whoever waits end."""
        super().set()
        self._rung.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Whether it was set, after `timeout` seconds at most, or as soon as it is rung."""
        if not self.is_set() and self._rung.wait(timeout) and not self.is_set():
            self._rung.clear()
        return self.is_set()


@contextmanager
def dequeuing(engine: DBOS, queue: Queue, bell: Bell) -> Iterator[None]:
    """Take work from a queue that the engine was told to leave alone, until the block ends; what was taken goes on."""

    def run() -> None:
        while not bell.is_set():
            queue_worker_thread(bell, engine, queue)
            bell.wait(AGAIN_S)  # It ends when it is to, and when the queue is not to be found.

    thread = threading.Thread(target=run, name="dequeue", daemon=True)
    thread.start()
    try:
        yield
    finally:
        bell.set()
        thread.join(timeout=10)
