"""Servers that cannot be reached: given up after a few attempts, so that nobody waits for each of their databases."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from control_plane.domain.errors import UnavailableError

TRIES = 3
_ANSWER = "FATAL"
"""Stands in what libpq says of a server that is there and refuses a connection: the database's fault, or the load's."""


class ServerUnreachableError(UnavailableError):
    """A server has not answered for several times in a row."""

    code = "server_unreachable"


class Reaching:
    """Knows which servers do not answer, for one piece of work: the next one asks them again. Threads may share it."""

    def __init__(self) -> None:
        self._in_vain: Counter[str] = Counter()
        self._counting = threading.Lock()

    @contextmanager
    def trying(self, server: str) -> Iterator[None]:
        """Around the opening of one connection to that server.

        ServerUnreachableError, without any attempt, once TRIES in a row had no answer. Those that are under way at the
        same time are finished.
        """
        with self._counting:
            tried = self._in_vain[server]
        if tried >= TRIES:
            raise ServerUnreachableError(f"server {server} cannot be reached (tried {tried} times)", server=server)
        try:
            yield
        except psycopg.OperationalError as error:
            with self._counting:
                self._in_vain[server] = 0 if _ANSWER in str(error) else self._in_vain[server] + 1
            raise
        with self._counting:
            self._in_vain[server] = 0
