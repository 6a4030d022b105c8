"""Many statements for one round trip, over psycopg's own connection: libpq's pipeline mode."""

from __future__ import annotations

import select
from collections import deque
from collections.abc import Callable, Sequence

import psycopg
from psycopg import pq

from provisioning.moves.errors import DivergedError, at_target
from provisioning.roles import Connection

LOOK_S = 1.0
"""So often, while the server works, whoever waits may do something else."""


class Pipeline:
    """Statements sent without waiting; what became of them is asked by `round_trip`. Of no use after an error.

    The connection is of no other use from then on; close it at the end.
    """

    def __init__(self, connection: Connection, meanwhile: Callable[[], None] = lambda: None) -> None:
        self.connection = connection
        self._pgconn = connection.pgconn
        self._meanwhile = meanwhile
        self._prepared: dict[bytes, bytes] = {}
        self._waiting: deque[bytes | None] = deque()
        """What each result to come must say; None: whatever it says."""
        self.round_trips = 0
        with at_target(connection):
            self._pgconn.enter_pipeline_mode()

    def __len__(self) -> int:
        return len(self._waiting)

    def send(self, statement: bytes, parameters: Sequence[bytes | None] = (), *, tag: bytes | None = None) -> None:
        """Send a statement, prepared at its first time. It must end with that command tag (`UPDATE 1`), if any."""
        with at_target(self.connection):
            name = self._prepared.get(statement)
            if name is None:
                name = self._prepared[statement] = b"mover_%d" % len(self._prepared)
                self._pgconn.send_prepare(name, statement)
                self._waiting.append(None)
            self._pgconn.send_query_prepared(name, parameters)
            self._waiting.append(tag)

    def round_trip(self) -> None:
        """Wait for all that was sent. The first that failed is raised, or DivergedError for another tag than told."""
        self.round_trips += 1
        failed: psycopg.Error | None = None
        differing: tuple[bytes, bytes] | None = None
        with at_target(self.connection):
            self._pgconn.pipeline_sync()
            self._pgconn.flush()
            while (result := self._result()) is None or result.status != pq.ExecStatus.PIPELINE_SYNC:
                if result is None:
                    continue
                wanted = self._waiting.popleft()
                if result.status == pq.ExecStatus.FATAL_ERROR:
                    failed = failed or psycopg.errors.error_from_result(result)
                elif wanted is not None and result.status == pq.ExecStatus.COMMAND_OK:
                    tag = result.command_status or b""
                    differing = differing or ((wanted, tag) if tag != wanted else None)
            if failed is not None:
                raise failed
        if differing is not None:
            was_to_be, was = (each.decode() for each in differing)
            raise DivergedError(f"{DivergedError().message[:-1]} ({was_to_be} was to be, {was} was)")

    def _result(self) -> pq.abc.PGresult | None:
        poll: select.poll | None = None
        while self._pgconn.is_busy():
            if poll is None:
                poll = select.poll()
            # The server answers nothing before it has the whole of what is waiting here to be sent.
            unsent = self._pgconn.flush()
            poll.register(self._pgconn.socket, select.POLLIN | select.POLLOUT if unsent else select.POLLIN)
            if poll.poll(LOOK_S * 1000):
                self._pgconn.consume_input()
            else:
                self._meanwhile()
        result = self._pgconn.get_result()
        if result is None and self._pgconn.status == pq.ConnStatus.BAD:
            raise psycopg.OperationalError("the connection is lost")
        return result
