"""Doing something again and again beside a worker's workflows, in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from control_plane.registry.engine import ControlDatabaseError

JOIN_S = 5
log = structlog.get_logger()


@contextmanager
def going_round(name: str, every_s: float, look: Callable[[threading.Event], None]) -> Iterator[None]:
    """Call `look` every so many seconds for as long as the block lasts; `name` is the thread's, and what the log says.

    `look` is told by the event that it is to end soon. What it raises is logged, and it is called again all the same:
    nobody else would. An absent control database is told by others.
    """
    stopping = threading.Event()

    def go_round() -> None:
        while not stopping.wait(every_s):
            try:
                look(stopping)
            except Exception as error:  # noqa: BLE001 - whatever it is, the next round is gone: nobody else would
                if not isinstance(error, ControlDatabaseError):
                    log.error("round_failed", round=name, error=type(error).__name__)

    thread = threading.Thread(target=go_round, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join(timeout=JOIN_S)
