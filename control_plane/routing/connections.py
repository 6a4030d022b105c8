"""Connections to the pooler: one globally capped set, lent out by (database, login), least recently used closed first.

A first connection to a cold database is dear (13-22 ms: a server process has to start), one to a warm one is cheap,
and a connection held open for each of a thousand databases is more than anything on the way allows: so idle ones are
kept, under one cap.
"""

from __future__ import annotations

import asyncio
import select
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import psycopg
from psycopg.pq import ConnStatus, PipelineStatus, TransactionStatus

from control_plane.routing.refusals import BusyError


class Key(NamedTuple):
    """What makes two connections interchangeable."""

    alias: str
    login: str


TRACKED = (
    b"application_name",
    b"client_encoding",
    b"DateStyle",
    b"IntervalStyle",
    b"standard_conforming_strings",
    b"TimeZone",
)
"""Settings that PgBouncer keeps for a client connection past every reset: changed ones would meet the next tenant."""


class LentConnection(psycopg.AsyncConnection[Any]):
    """A driver connection whose `close` gives it back to the source that lent it."""

    source: ConnectionSource
    key: Key
    born: float
    lent: bool
    tracked_at_birth: tuple[bytes | None, ...]

    async def close(self) -> None:
        """Give the connection back; the source decides whether it is kept."""
        self.source.give_back(self)

    def add_notice_handler(self, callback: object) -> None:
        """Do nothing: SQLAlchemy adds one at every checkout, a leak on a kept connection; and notices carry values."""

    @property
    def reusable(self) -> bool:
        """Whether the connection is whole, between transactions, and set as it was when it was opened."""
        return (
            self.pgconn.status == ConnStatus.OK
            and self.pgconn.transaction_status == TransactionStatus.IDLE
            and self.pgconn.pipeline_status == PipelineStatus.OFF
            and self.tracked == self.tracked_at_birth
        )

    @property
    def tracked(self) -> tuple[bytes | None, ...]:
        """What the server last said of the settings in TRACKED."""
        return tuple(map(self.pgconn.parameter_status, TRACKED))

    @property
    def hung_up(self) -> bool:
        """Whether the other side has closed or spoken unasked: an idle connection has nothing to read."""
        poll = select.poll()
        poll.register(self.pgconn.socket, select.POLLIN)
        return bool(poll.poll(0))


Opener = Callable[[Key], Awaitable[LentConnection]]


class _Waiter(NamedTuple):
    key: Key
    grant: asyncio.Future[LentConnection | None]
    """A connection of that key, or None: a free slot to open one in."""


@dataclass(frozen=True, kw_only=True)
class SourceState:
    """How many connections and waiters there are right now, and the most connections there ever were."""

    idle: int
    lent: int
    waiting: int
    most: int


class ConnectionSource:
    """Lends connections; never more than `limit` of them exist, idle, lent and opening together.

    Belongs to one event loop. A connection is lent to one borrower at a time and comes back by its `close`.
    """

    def __init__(self, open_connection: Opener, *, limit: int, waiters: int, wait_s: float, age_s: float) -> None:
        self._open = open_connection
        self._limit, self._waiters_max, self._wait_s, self._age_s = limit, waiters, wait_s, age_s
        self._idle: OrderedDict[int, LentConnection] = OrderedDict()
        self._idle_of: dict[Key, list[int]] = {}
        self._waiters: deque[_Waiter] = deque()
        self._count = 0
        self._most = 0
        self._closed = False

    @property
    def state(self) -> SourceState:
        """A count of everything."""
        idle = len(self._idle)
        return SourceState(idle=idle, lent=self._count - idle, waiting=len(self._waiters), most=self._most)

    def idle_of(self, key: Key) -> int:
        """How many idle connections there are of that key."""
        return len(self._idle_of.get(key, ()))

    async def borrow(self, key: Key) -> LentConnection:
        """A connection for `key`, idle or new. BusyError when too many wait or the wait is too long."""
        connection = self._take_idle(key)
        if connection is None and not self._take_slot():
            connection = await self._wait(key)
        return connection if connection is not None else await self._open_in_slot(key)

    def give_back(self, connection: LentConnection) -> None:
        """Keep the connection for the next borrower, or close it and free its slot. Never waits."""
        if not connection.lent:
            return  # SQLAlchemy closes a connection twice when its rollback fails.
        connection.lent = False
        young = time.monotonic() - connection.born < self._age_s
        if self._closed or not (connection.reusable and young):
            self._drop(connection)
        elif (waiter := self._next_waiter()) is None:
            self._idle[id(connection)] = connection
            self._idle_of.setdefault(connection.key, []).append(id(connection))
        elif waiter.key == connection.key:
            connection.lent = True
            waiter.grant.set_result(connection)
        else:
            connection.pgconn.finish()
            waiter.grant.set_result(None)

    def close_idle(self, key: Key | None = None) -> int:
        """Close the idle connections of one key, or all of them; returns how many there were."""
        idle = [connection for connection in self._idle.values() if key in (None, connection.key)]
        for connection in idle:
            self._forget_idle(connection)
            self._drop(connection)
        return len(idle)

    async def close(self) -> None:
        """Close idle connections now and lent ones when they come back."""
        self._closed = True
        self.close_idle()

    def _take_idle(self, key: Key) -> LentConnection | None:
        while ids := self._idle_of.get(key):
            connection = self._idle[ids[-1]]
            self._forget_idle(connection)
            if not connection.hung_up:
                connection.lent = True
                return connection
            self._drop(connection)
        return None

    def _take_slot(self) -> bool:
        if self._count < self._limit:
            self._count += 1
            self._most = max(self._most, self._count)
            return True
        if not self._idle:
            return False
        oldest = next(iter(self._idle.values()))
        self._forget_idle(oldest)
        oldest.pgconn.finish()
        return True

    async def _wait(self, key: Key) -> LentConnection | None:
        if len(self._waiters) >= self._waiters_max:
            raise BusyError(waiting=len(self._waiters))
        waiter = _Waiter(key, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        # asyncio.wait does not cancel the future: a grant that arrives with a cancellation can still be passed on.
        try:
            await asyncio.wait([waiter.grant], timeout=self._wait_s)
        except asyncio.CancelledError:
            self._withdraw(waiter)
            raise
        if not waiter.grant.done():
            self._withdraw(waiter)
            raise BusyError(waited_s=self._wait_s)
        return waiter.grant.result()

    def _withdraw(self, waiter: _Waiter) -> None:
        if waiter.grant.done():
            self._pass_on(waiter.grant.result())
        else:
            waiter.grant.cancel()
            self._waiters.remove(waiter)

    async def _open_in_slot(self, key: Key) -> LentConnection:
        opening = asyncio.ensure_future(self._open(key))
        try:
            return self._own(await asyncio.shield(opening), key)
        except asyncio.CancelledError:
            # It goes on without its borrower: one that is half open can neither be closed nor does it count as none.
            opening.add_done_callback(partial(self._adopt, key))
            raise
        except BaseException:
            self._free_slot()
            raise

    def _adopt(self, key: Key, opening: asyncio.Future[LentConnection]) -> None:
        if opening.cancelled() or opening.exception() is not None:
            self._free_slot()
        else:
            self.give_back(self._own(opening.result(), key))

    def _own(self, connection: LentConnection, key: Key) -> LentConnection:
        connection.source, connection.key = self, key
        connection.born, connection.lent = time.monotonic(), True
        connection.tracked_at_birth = connection.tracked
        return connection

    def _next_waiter(self) -> _Waiter | None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.grant.done():
                return waiter
        return None

    def _forget_idle(self, connection: LentConnection) -> None:
        del self._idle[id(connection)]
        ids = self._idle_of[connection.key]
        ids.remove(id(connection))
        if not ids:
            del self._idle_of[connection.key]

    def _drop(self, connection: LentConnection) -> None:
        connection.pgconn.finish()
        self._free_slot()

    def _free_slot(self) -> None:
        waiter = self._next_waiter()
        if waiter is None:
            self._count -= 1
        else:
            waiter.grant.set_result(None)

    def _pass_on(self, grant: LentConnection | None) -> None:
        if grant is None:
            self._free_slot()
        else:
            self.give_back(grant)
