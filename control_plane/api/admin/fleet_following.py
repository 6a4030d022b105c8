"""A run over the fleet as a stream of events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from uuid import UUID

from control_plane.api.admin import fleet_work as work
from control_plane.api.admin.fleet_schemas import EndEvent, RunEvent, TargetEvent
from control_plane.api.admin.fleet_work import Look
from control_plane.api.admin.following import Followed, documented, lines, seated
from control_plane.api.desk import Desk
from control_plane.registry.fleet_runs import INTERRUPTED, UNENDED

TAKEN_OVER_WITHIN_S = 15.0
"""How long a run whose worker died may look as if it had ended."""
DOCUMENTED = documented(
    "Events, one a line: the run, each target as it ends, then `end`, or `again` after a quarter hour.",
    RunEvent,
    TargetEvent,
    EndEvent,
)


async def followed(desk: Desk, run_id: UUID) -> Followed:
    """The run from its beginning; NotFoundError for an unknown one, ControlBusyError when too many are followed."""
    first = await desk.run(work.look, run_id, None)
    told = lines(
        RunEvent(**first.run.model_dump()),
        first,
        again=lambda seen: desk.run(work.look, run_id, seen.marker),
        news=lambda seen: seen.targets,
        end=_end(asyncio.get_running_loop().time),
    )
    return await seated(desk, told)


def _end(clock: Callable[[], float]) -> Callable[[Look], EndEvent | None]:
    interrupted: float | None = None

    def end(seen: Look) -> EndEvent | None:
        nonlocal interrupted
        interrupted = (interrupted or clock()) if seen.run.state == INTERRUPTED else None
        waited = interrupted is None or clock() - interrupted > TAKEN_OVER_WITHIN_S
        return EndEvent(**seen.run.model_dump()) if waited and seen.run.state not in UNENDED else None

    return end
