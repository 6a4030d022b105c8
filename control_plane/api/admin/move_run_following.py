"""A run of many moves as a stream of events."""

from __future__ import annotations

from uuid import UUID

from control_plane.api.admin import move_run_work as work
from control_plane.api.admin.following import Followed, documented, lines, seated
from control_plane.api.admin.move_run_schemas import MoveEvent, MoveRunEndEvent, MoveRunEvent
from control_plane.api.admin.move_run_work import Look
from control_plane.api.desk import Desk
from control_plane.registry.move_runs import OPEN

DOCUMENTED = documented(
    "Events, one a line: the run, each of its moves at first and when it has changed, then `end`, or `again` after a"
    " quarter hour.",
    MoveRunEvent,
    MoveEvent,
    MoveRunEndEvent,
)


async def followed(desk: Desk, run_id: UUID) -> Followed:
    """The run as it is now, and what comes; NotFoundError for an unknown one, ControlBusyError when too many follow."""
    first = await desk.run(work.look, run_id, {})
    told = lines(
        MoveRunEvent(**first.run.model_dump()),
        first,
        again=lambda found: desk.run(work.look, run_id, found.seen),
        news=lambda found: found.moves,
        end=_end,
    )
    return await seated(desk, told)


def _end(found: Look) -> MoveRunEndEvent | None:
    return MoveRunEndEvent(**found.run.model_dump()) if found.run.state != OPEN else None
