"""What staff see of runs of many moves and what they send about them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from control_plane.api.admin.move_schemas import MoveOut
from control_plane.api.inputs import Input, Output
from control_plane.domain.moving import MOVES_AT_ONCE_MAX, UNDO_WINDOW_MAX
from control_plane.domain.tenant import Model
from control_plane.settings import Settings
from control_plane.tenants.relocating import JOURNEYS_MAX, Pace


class NewPace(Input):
    """How fast tenants are moved, and how long what they leave is kept; as in the settings without them."""

    at_once: Annotated[int | None, Field(ge=1, le=MOVES_AT_ONCE_MAX, description="Moves of a server.")] = None
    undo_window_s: Annotated[int | None, Field(ge=0, le=int(UNDO_WINDOW_MAX.total_seconds()))] = None

    allow_freeze: bool = False
    """Whether tenants may be kept waiting for as long as a copy takes, where their server can send no stream."""

    def pace(self, settings: Settings) -> Pace:
        """The same for the work."""
        limits = settings.limits
        window = limits.undo_window if self.undo_window_s is None else timedelta(seconds=self.undo_window_s)
        at_once = self.at_once or limits.moves_at_once
        return Pace(at_once=at_once, undo_window=window, allow_freeze=self.allow_freeze)


class NewRebalance(NewPace):
    """How many tenants may be moved for servers to be used evenly, and how fast."""

    max: Annotated[int | None, Field(ge=1, le=JOURNEYS_MAX, description="As many as it takes without it.")] = None


class Ending(Input):
    """What becomes of moves that are under way."""

    call_off: bool = False
    """With it they end where they began, otherwise they go on."""


class CalledOff(Output):
    """Slugs of the tenants whose moves are called off."""

    tenants: list[str]


class JourneyOut(Output):
    """One who would move."""

    tenant: str
    model: Model
    source: str
    target: str
    bytes: int
    """As far as is known: of a pool or bridge, one tenant's share of it."""
    reason: str


class StayOut(Output):
    """One who cannot move, and why."""

    tenant: str
    reason: str


class OutlookOut(Output):
    """What would be done now."""

    moves: list[JourneyOut]
    stays: list[StayOut]
    bytes: int
    seconds: float


class MoveRunOut(Output):
    """Many moves that belong together."""

    id: UUID
    kind: Literal["drain", "rebalance"]
    server: str | None
    """The one that is drained."""
    actor: str
    state: Literal["open", "done", "incomplete", "cancelled"]
    at_once: int
    undo_window_s: int
    allow_freeze: bool
    moved: int
    moving: int
    failed: int
    """Those whose moves were called off."""
    left: int
    """Of a drain, those that live on the server; of a rebalance, those that have not begun to move."""
    kept: int
    """Of a drain, homes there that nobody lives in any more, and that are kept for a while."""
    reason: str | None
    """What is waited for."""
    stays: list[StayOut]
    """At its end, who has not moved, and why."""
    created_at: datetime
    ended_at: datetime | None


class MoveRunDetails(MoveRunOut):
    """A run with its moves, oldest first."""

    moves: list[MoveOut]


class MoveRunList(Output):
    """The newest runs, newest first."""

    items: list[MoveRunOut]


class Rebalancing(Output):
    """The run that was begun; none when servers are used evenly."""

    run: MoveRunOut | None


class MoveRunEvent(MoveRunOut):
    """The first line: the run as it is now."""

    event: Literal["run"] = "run"


class MoveEvent(MoveOut):
    """A move of the run has begun, or something about it has changed; at first, each that there is."""

    event: Literal["move"] = "move"
    tenant: str
    """Its slug."""


class MoveRunEndEvent(MoveRunOut):
    """The last line: the run has ended."""

    event: Literal["end"] = "end"
