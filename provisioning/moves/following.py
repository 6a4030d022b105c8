"""Following a source: what its stream brings is applied, and whoever waits for something in it learns that it came.

"There is nothing to read" does not mean "nothing is missing": what is waited for is a mark in the log itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from secrets import token_hex
from uuid import UUID

from provisioning.duty import at_once
from provisioning.exports.content import TENANT_ID
from provisioning.moves.applying import Applier
from provisioning.moves.errors import (
    DamagedStreamError,
    NotCaughtUpError,
    ShapesDifferError,
    SourceGoneError,
    at_source,
)
from provisioning.moves.lsn import Lsn
from provisioning.moves.messages import Begin, Commit, Delete, Message, Origin, Relation, Told, Truncate, Type
from provisioning.moves.pgoutput import decode
from provisioning.moves.places import Place
from provisioning.moves.stream import KeepAlive, Stream
from provisioning.moves.tables import Table
from provisioning.roles import Connection

FENCES = ("tenancy", "fences")
PUMP_S = 0.5
PIECE_FRAMES = 200
"""Some ten milliseconds of work."""
DEADLINE_S = 60.0
_TELL = "SELECT pg_logical_emit_message(true, %s, %s)"


@dataclass(frozen=True, kw_only=True)
class FenceSeen:
    """The tenant's fence in the source, as the stream has shown it last. It is never applied."""

    epoch: int
    state: str


class Follower:
    """One stream and who applies it. Not for several threads. `opened` makes one."""

    def __init__(self, stream: Stream, applier: Applier, name: str, schema: str) -> None:
        self.stream, self.applier = stream, applier
        self.fence: FenceSeen | None = None
        """None until it has changed: the stream shows changes alone."""
        self._name, self._schema = name, schema
        self.duty = at_once()
        """Of applying: whoever is in no hurry gives another one."""
        self._fences: Relation | None = None
        self._marks = count(1)
        # A slot that lasts brings the marks of those who followed before once more.
        self._own = token_hex(8)
        self._seen: set[bytes] = set()
        """Marks that have come out of the stream, with everything before them committed in the target."""
        self._awaited = False
        """Whether a mark or a fence has come by during this pump."""
        self._coming: list[bytes] = []
        """Those before which something is not committed yet."""

    @classmethod
    @contextmanager
    def opened(
        cls, stream: Stream, name: str, source_schema: str, target: Place, tables: Sequence[Table], tenant_id: UUID
    ) -> Iterator[Follower]:
        """Start the stream where the target has been brought, and follow it; NotBegunError, and as `Stream.start`."""
        with Applier.opened(target, name, tables, tenant_id, lambda: stream.confirm(applier.applied)) as applier:
            stream.start(applier.applied)
            yield cls(stream, applier, name, source_schema)
            # What is with the target need not be kept any longer; if not now, the source hears it another time.
            with suppress(SourceGoneError):
                stream.confirm(applier.applied, now=True)

    @property
    def connections(self) -> tuple[Connection, Connection]:
        """To the source and to the target."""
        return self.stream.connection, self.applier.connection

    def pump(self, wait_s: float = PUMP_S) -> bool:
        """Apply and commit what has come, for PUMP_S at most, waiting `wait_s` for something; False if nothing came."""
        frame = self.stream.read(wait_s)
        came, frames, until = frame is not None, 0, time.monotonic() + PUMP_S
        self._awaited = False
        self.duty.begin()
        while frame is not None:
            if isinstance(frame, KeepAlive):
                self._keep_alive(frame)
            else:
                self._handle(decode(frame.payload))
                self.stream.confirm(self.applier.applied)
            # Whoever waits is told at once, and now and then: a busy source always has more to read.
            if (self._awaited and not self.applier.inside) or time.monotonic() > until:
                break
            frames += 1
            if frames % PIECE_FRAMES == 0:
                self.duty.rest()
            frame = self.stream.read(0)
        self._commit()
        return came

    def pump_until(self, reached: Callable[[], bool], *, what: str, deadline_s: float = DEADLINE_S) -> None:
        """Pump until `reached`, which is asked between two pumps. NotCaughtUpError, naming what, at the deadline."""
        deadline = time.monotonic() + deadline_s
        while not reached():
            left = deadline - time.monotonic()
            if left <= 0:
                raise NotCaughtUpError(f"{NotCaughtUpError().message[:-1]} ({what}, {round(deadline_s)} s)")
            self.pump(min(PUMP_S, left))

    def mark(self, source: Connection) -> bytes:
        """Write a mark into the source's log, for `has_passed`; what was committed before comes out before it."""
        mark = f"{self._own}-{next(self._marks)}"
        with at_source(source):
            source.execute(_TELL, [self._name, mark])
        return mark.encode()

    def has_passed(self, mark: bytes) -> bool:
        """Whether all that was committed before that mark is committed in the target."""
        return mark in self._seen

    def catch_up(self, source: Connection, *, deadline_s: float = DEADLINE_S) -> float:
        """Have all that is committed now committed in the target; how many seconds that took. NotCaughtUpError."""
        began = time.monotonic()
        mark = self.mark(source)
        self.pump_until(lambda: self.has_passed(mark), what="a mark in the stream", deadline_s=deadline_s)
        return time.monotonic() - began

    def wait_for_fence(self, epoch: int, state: str, *, deadline_s: float = DEADLINE_S) -> None:
        """Have all that was committed before the fence became so committed in the target. NotCaughtUpError."""
        wanted = FenceSeen(epoch=epoch, state=state)
        reached = lambda: self.fence == wanted and self.applier.settled  # noqa: E731
        self.pump_until(reached, what=f"the fence, {state} at epoch {epoch}", deadline_s=deadline_s)

    def _handle(self, message: Message) -> None:
        match message:
            case Begin():
                self.applier.begin(message)
            case Commit():
                self.applier.end(message)
            case Relation():
                self._know(message)
            case Told():
                if message.prefix == self._name:
                    self._coming.append(message.content)
                    self._awaited = True
            case Truncate():
                raise DamagedStreamError("tables of the source were emptied, whoever's rows they held")
            case Origin() | Type():
                pass
            case _ if self._fences is not None and message.relation == self._fences.oid:
                if not isinstance(message, Delete):
                    self._see_fence(self._fences, message.row)
            case _:
                self.applier.change(message)

    def _know(self, relation: Relation) -> None:
        if (relation.schema, relation.name) == FENCES:
            self._fences = relation
        elif relation.schema == self._schema:
            self.applier.know(relation)
        else:
            raise DamagedStreamError(f"the stream has a table of another schema: {relation.schema}.{relation.name}")

    def _see_fence(self, relation: Relation, row: Sequence[object]) -> None:
        values = {column.name: value for column, value in zip(relation.columns, row, strict=True)}
        epoch, state = values.get("epoch"), values.get("state")
        if not (isinstance(epoch, bytes) and isinstance(state, bytes) and TENANT_ID in values):
            raise ShapesDifferError("the source's fence has no epoch or no state")
        self.fence, self._awaited = FenceSeen(epoch=int(epoch), state=state.decode()), True

    def _keep_alive(self, frame: KeepAlive) -> None:
        self._commit()
        # What came until there is committed, or was nobody's business: the source need not keep it.
        safe = frame.end if self.applier.settled else self.applier.applied
        self.stream.confirm(Lsn(safe), now=frame.reply)

    def _commit(self) -> None:
        self.applier.commit()
        if self.applier.settled and self._coming:
            self._seen.update(self._coming)
            self._coming.clear()
