"""Counting how often a server is waited for: each time it says that it is ready for more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import Any

import psycopg

READY = b"ReadyForQuery"


@contextmanager
def counted_round_trips(connection: psycopg.Connection[Any]) -> Iterator[Callable[[], int]]:
    """How many there have been on that connection since the block's beginning."""
    with TemporaryFile() as told:

        def so_far() -> int:
            # What is traced is written out at the end alone.
            connection.pgconn.untrace()
            told.seek(0)
            number = told.read().count(READY)
            connection.pgconn.trace(told.fileno())
            return number

        connection.pgconn.trace(told.fileno())
        try:
            yield so_far
        finally:
            connection.pgconn.untrace()
