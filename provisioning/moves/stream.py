"""A stream of changes from a source: the replication protocol over a connection that psycopg has opened.

Nothing here blocks for longer than told, and nothing is confirmed to the source but what the caller has said is safe.
"""

from __future__ import annotations

import select
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

import psycopg
from psycopg import pq, sql

from provisioning.moves.errors import DamagedStreamError, SlotLostError, SlotTakenError, SourceGoneError, at_source
from provisioning.moves.lsn import NOWHERE, Lsn, lsn_text
from provisioning.moves.places import SENDER_TIMEOUT_S, Place, closed_at_the_end
from provisioning.roles import Connection

STATUS_S = 5.0
"""So often the source hears that somebody is there, and is asked to answer."""
SILENCE_S = SENDER_TIMEOUT_S / 2
"""After so long without an answer it is gone."""
TAKEN_TRIES, TAKEN_PAUSE_S = 50, 0.1
"""A server needs a moment to see that a reader has died."""
_EPOCH_US = 946_684_800_000_000
"""1 January 2000, from which PostgreSQL counts, in Unix time."""
_DATA, _KEEPALIVE = ord("w"), ord("k")
_DATA_HEAD, _ALIVE = struct.Struct("!cQQQ"), struct.Struct("!cQQB")
_STATUS = struct.Struct("!cQQQQB")
# There is no such slot, or its changes have been thrown away.
_LOST, _TAKEN = frozenset({"42704", "55000"}), "55006"


class Data(NamedTuple):
    """A message of the plugin's."""

    payload: bytes


class KeepAlive(NamedTuple):
    """The source has sent all that the tenant has up to there."""

    end: Lsn
    reply: bool
    """Whether the source wants to hear something now."""


class Stream:
    """One slot's changes. Not for several threads. `opened` makes one and closes it."""

    def __init__(self, connection: Connection, name: str) -> None:
        self.connection = connection
        """Of `Place.replicate`; for `create_slot`, before `start`."""
        self._pgconn = connection.pgconn
        self._name = name
        self._told = 0.0
        self._asked: float | None = None
        """Since when the source owes an answer."""
        self._confirmed = NOWHERE

    @classmethod
    @contextmanager
    def opened(cls, source: Place, name: str) -> Iterator[Stream]:
        """The stream of the slot and the publication of that name, not started yet; a temporary slot ends with it."""
        with at_source():
            connection = source.replicate()
        with closed_at_the_end(connection):
            yield cls(connection, name)

    def start(self, after: Lsn) -> None:
        """Have the source send what was committed after that place, or after what was confirmed if that is later.

        Once: PostgreSQL ends a second stream of the same connection at once. SlotLostError when the source does not
        have the slot, or not all of its changes; SlotTakenError when somebody who lives reads it.
        """
        name = sql.Identifier(self._name).as_string(None)
        options = f"proto_version '1', publication_names {sql.Literal(name).as_string(None)}, messages 'true'"
        command = f"START_REPLICATION SLOT {name} LOGICAL {lsn_text(after)} ({options})"
        for left in reversed(range(TAKEN_TRIES)):
            with at_source(self.connection), suppress(*([SlotTakenError] if left else [])):
                result = self._pgconn.exec_(command.encode())
                if result.status == pq.ExecStatus.COPY_BOTH:
                    break
                raise self._error(psycopg.errors.error_from_result(result))
            time.sleep(TAKEN_PAUSE_S)
        self._confirmed = after
        self._told, self._asked = time.monotonic(), None

    def read(self, wait_s: float) -> Data | KeepAlive | None:
        """What comes next; None when nothing has come for `wait_s` seconds, and at once when that is 0.

        SourceGoneError when the source ends the stream or is silent for too long; SlotLostError.
        """
        deadline = time.monotonic() + wait_s
        with at_source(self.connection):
            while (data := self._frame()) is None:
                left = deadline - time.monotonic()
                if not self._readable(max(0.0, min(left, STATUS_S))):
                    self._watch()
                    if left <= 0:
                        return None
                    continue
                self._pgconn.consume_input()
        self._asked = None
        return _parsed(data)

    def confirm(self, up_to: Lsn, *, now: bool = False) -> None:
        """Let the source throw away what was committed before that place: it is safe with the target.

        Sent now and then only, unless `now`; call it often, for the source ends a stream of which it hears nothing.
        """
        self._confirmed = max(self._confirmed, up_to)
        if now or time.monotonic() - self._told >= STATUS_S:
            with at_source(self.connection):
                self._tell(ask=not now)

    def _frame(self) -> memoryview | None:
        number, data = self._pgconn.get_copy_data(1)
        if number == 0:
            return None
        if number > 0:
            return data
        result = self._pgconn.get_result()
        if result is not None and result.status == pq.ExecStatus.FATAL_ERROR:
            raise self._error(psycopg.errors.error_from_result(result))
        raise SourceGoneError("the source has ended its stream")

    def _watch(self) -> None:
        now = time.monotonic()
        if self._asked is not None and now - self._asked > SILENCE_S:
            raise SourceGoneError(f"the source has been silent for {round(now - self._asked)} s")
        if now - self._told >= STATUS_S:
            self._tell(ask=True)

    def _tell(self, *, ask: bool) -> None:
        since = time.time_ns() // 1000 - _EPOCH_US
        place = self._confirmed
        self._pgconn.put_copy_data(_STATUS.pack(b"r", place, place, place, since, ask))
        self._pgconn.flush()
        self._told = time.monotonic()
        if ask and self._asked is None:
            self._asked = self._told

    def _readable(self, wait_s: float) -> bool:
        poll = select.poll()
        poll.register(self._pgconn.socket, select.POLLIN)
        return bool(poll.poll(max(0.0, wait_s) * 1000))

    def _error(self, error: psycopg.Error) -> Exception:
        if error.sqlstate in _LOST:
            lost = SlotLostError(f"{SlotLostError().message} ({error.diag.message_primary})")
            lost.__cause__ = error
            return lost
        return SlotTakenError() if error.sqlstate == _TAKEN else error


def _parsed(data: memoryview) -> Data | KeepAlive:
    try:
        if data[0] == _DATA:
            return Data(bytes(data[_DATA_HEAD.size :]))
        if data[0] == _KEEPALIVE:
            _, end, _, reply = _ALIVE.unpack(data)
            return KeepAlive(Lsn(end), bool(reply))
    except (struct.error, IndexError) as error:
        raise DamagedStreamError from error
    raise DamagedStreamError(f"the stream has a frame of an unknown kind: {data[0]}")
