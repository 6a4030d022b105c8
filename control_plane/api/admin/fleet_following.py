"""A run over the fleet as a stream: a JSON value a line, for as long as the run goes on and somebody reads."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from uuid import UUID

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from control_plane.api.admin import fleet_work as work
from control_plane.api.admin.fleet_schemas import AgainEvent, EndEvent, RunEvent, TargetEvent
from control_plane.api.admin.fleet_work import Look
from control_plane.api.desk import Desk
from control_plane.api.inputs import Output
from control_plane.api.threads import ControlBusyError
from control_plane.domain.errors import UnavailableError
from control_plane.registry.fleet_runs import INTERRUPTED, UNENDED

MEDIA_TYPE = "application/x-ndjson"
LOOK_S = 0.5
FOLLOW_S = 900.0
"""Longest time that one stream lasts."""
TAKEN_OVER_WITHIN_S = 15.0
"""How long a run whose worker died may look as if it had ended."""
EVENTS = (RunEvent, TargetEvent, EndEvent, AgainEvent)
DOCUMENTED = {
    "description": "Events, one a line: the run, each target as it ends, then `end`, or `again` after a quarter hour.",
    "content": {MEDIA_TYPE: {"schema": {"oneOf": [event.model_json_schema(mode="serialization") for event in EVENTS]}}},
}


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


async def followed(desk: Desk, run_id: UUID) -> Followed:
    """The run from its beginning; NotFoundError for an unknown one, ControlBusyError when too many are followed."""
    first = await desk.run(work.look, run_id, None)
    return await seated(desk, _lines(desk, run_id, first))


async def seated(desk: Desk, lines: AsyncIterator[str]) -> Followed:
    """The lines as an answer, in one of the seats that there are for those who follow; else ControlBusyError."""
    seats = desk.control.followers
    if seats.locked():
        raise ControlBusyError
    await seats.acquire()
    return Followed(lines, seats)


async def _lines(desk: Desk, run_id: UUID, seen: Look) -> AsyncIterator[str]:
    clock = asyncio.get_running_loop().time
    until, interrupted = clock() + FOLLOW_S, None
    yield written([RunEvent(**seen.run.model_dump())])
    while True:
        if seen.targets:
            yield written(seen.targets)
        interrupted = (interrupted or clock()) if seen.run.state == INTERRUPTED else None
        waited = interrupted is None or clock() - interrupted > TAKEN_OVER_WITHIN_S
        if seen.run.state not in UNENDED and waited:
            yield written([EndEvent(**seen.run.model_dump())])
            return
        if clock() > until:
            yield written([AgainEvent()])
            return
        await asyncio.sleep(LOOK_S)
        seen = replace(seen, targets=[])
        with contextlib.suppress(UnavailableError):
            seen = await desk.run(work.look, run_id, seen.marker)


def written(events: Iterable[Output]) -> str:
    """Events as lines."""
    return "".join(event.model_dump_json(by_alias=True) + "\n" for event in events)
