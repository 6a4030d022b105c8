"""What goes on as a stream: a JSON value a line, for as long as it goes on and somebody reads."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any, Literal, TypeVar

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from control_plane.api.desk import Desk
from control_plane.api.inputs import Output
from control_plane.api.threads import ControlBusyError
from control_plane.domain.errors import UnavailableError

MEDIA_TYPE = "application/x-ndjson"
LOOK_S = 0.5
FOLLOW_S = 900.0
"""Longest time that one stream lasts."""

Look = TypeVar("Look")
"""What was seen at once: what goes on, and what has come since the look before."""


class AgainEvent(Output):
    """The last line of a stream that has lasted long enough: it goes on, ask again."""

    event: Literal["again"] = "again"


class Followed(StreamingResponse):
    """The stream; gives its seat back when it ends, in whatever way."""

    media_type = MEDIA_TYPE

    def __init__(self, lines: AsyncIterator[str], seats: asyncio.Semaphore) -> None:
        super().__init__(lines)
        self._seats = seats

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve it; a client that goes away ends it at once."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._seats.release()


def documented(description: str, *events: type[Output]) -> dict[str, Any]:
    """What OpenAPI tells of a stream of these events, or `again`."""
    all_: list[type[Output]] = [*events, AgainEvent]
    schemas = [event.model_json_schema(mode="serialization") for event in all_]
    return {"description": description, "content": {MEDIA_TYPE: {"schema": {"oneOf": schemas}}}}


async def seated(desk: Desk, lines: AsyncIterator[str]) -> Followed:
    """The lines as an answer, in one of the seats that there are for those who follow; else ControlBusyError."""
    seats = desk.control.followers
    if seats.locked():
        raise ControlBusyError
    await seats.acquire()
    return Followed(lines, seats)


async def lines(
    opening: Output,
    found: Look,
    *,
    again: Callable[[Look], Awaitable[Look]],
    news: Callable[[Look], Sequence[Output]],
    end: Callable[[Look], Output | None],
    every_s: float = LOOK_S,
) -> AsyncIterator[str]:
    """`opening`, then what is new at each look, until `end` has a last event, or `again` after FOLLOW_S.

    A look that finds no control database is left out.
    """
    clock = asyncio.get_running_loop().time
    until, fresh = clock() + FOLLOW_S, True
    yield _written([opening])
    while True:
        if fresh and (told := news(found)):
            yield _written(told)
        last = end(found) or (AgainEvent() if clock() > until else None)
        if last is not None:
            yield _written([last])
            return
        await asyncio.sleep(every_s)
        fresh = False
        with contextlib.suppress(UnavailableError):
            found, fresh = await again(found), True


def _written(events: Iterable[Output]) -> str:
    return "".join(event.model_dump_json(by_alias=True) + "\n" for event in events)
