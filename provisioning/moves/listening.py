"""A connection whose user can do something else while a server takes long: ask whether that is wanted any more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.abc import RV, PQGen

LOOK_S = 0.1


class Listening(psycopg.Connection[Any]):
    """A connection like any other, but within `meanwhile`."""

    _meanwhile: Callable[[], object] | None = None

    @contextmanager
    def meanwhile(self, ask: Callable[[], object]) -> Iterator[None]:
        """Have `ask` called all the time that the server says nothing within the block, every LOOK_S.

        What it raises ends the block, and the connection is only good for closing then.
        """
        self._meanwhile = ask
        try:
            yield
        finally:
            self._meanwhile = None

    def wait(self, gen: PQGen[RV], interval: float = LOOK_S, timeout: float | None = None) -> RV:
        """As psycopg has it: everything that waits for the server comes by here."""
        return super().wait(gen if self._meanwhile is None else _asking(gen, self._meanwhile), interval, timeout)


def _asking(gen: PQGen[RV], ask: Callable[[], object]) -> PQGen[RV]:
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready:
                ask()
            wanted = gen.send(ready)
    except StopIteration as end:
        result: RV = end.value
        return result
