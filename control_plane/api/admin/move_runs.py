"""HTTP for moving many tenants, off a server or for servers to be used evenly: workers begin a few moves at a time."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import Field
from sqlalchemy.orm import Session

from control_plane.api.admin.move_schemas import MoveOut
from control_plane.api.admin.move_work import shown as move_shown
from control_plane.api.desk import AsOps, AsSupport, Desk
from control_plane.api.errors import problems
from control_plane.api.inputs import Input, Output, PathId, ServerName
from control_plane.domain.moving import MOVES_AT_ONCE_MAX, UNDO_WINDOW_MAX
from control_plane.domain.relocation import seconds_for
from control_plane.domain.tenant import Model
from control_plane.registry import move_runs
from control_plane.registry.tables import MoveRunRow
from control_plane.settings import Settings
from control_plane.tenants import relocating
from control_plane.tenants.relocating import JOURNEYS_MAX, Outlook, Pace

router = APIRouter(prefix="/admin", tags=["moves"])

LISTED = 50


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


@router.post("/servers/{name}/drain", status_code=202, responses=problems(401, 403, 404, 409, 413, 422, 503))
async def drain_server(name: ServerName, body: NewPace, desk: AsOps, response: Response) -> MoveRunOut:
    """Put no new tenants on a server, and begin to move everybody away; repeating it goes on with the open run."""
    run = await desk.run(_drain, name, body, desk)
    response.headers["Location"] = f"/admin/move-runs/{run.id}"
    return run


@router.post("/servers/{name}/drain/preview", responses=problems(401, 403, 404, 413, 422, 503))
async def preview_drain(name: ServerName, body: NewPace, desk: AsSupport) -> OutlookOut:
    """Who would go where if that server were drained now, and who nowhere; nothing is changed."""
    return await desk.run(_preview_drain, name, body, desk)


@router.post("/servers/{name}/drain/cancel", responses=problems(401, 403, 404, 409, 413, 422, 503))
async def cancel_drain(name: ServerName, body: Ending, desk: AsOps) -> CalledOff:
    """Have a server that is drained take tenants again; who has moved away stays there."""
    return await desk.run(_cancel_drain, name, body, desk)


@router.post("/rebalance", status_code=202, responses=problems(401, 403, 409, 413, 422, 503))
async def rebalance(body: NewRebalance, desk: AsOps) -> Rebalancing:
    """Begin to move some tenants for servers to be used evenly: as few as do, and by what was measured last."""
    return await desk.run(_rebalance, body, desk)


@router.post("/rebalance/preview", responses=problems(401, 403, 413, 422, 503))
async def preview_rebalance(body: NewRebalance, desk: AsSupport) -> OutlookOut:
    """Who would move for servers to be used evenly; nothing is changed."""
    return await desk.run(_preview_rebalance, body, desk)


@router.post("/rebalance/cancel", responses=problems(401, 403, 409, 413, 422, 503))
async def cancel_rebalance(body: Ending, desk: AsOps) -> CalledOff:
    """Begin no more moves of the open rebalance."""
    return await desk.run(_cancel_rebalance, body, desk)


@router.get("/move-runs", responses=problems(401, 503))
async def list_move_runs(desk: AsSupport) -> MoveRunList:
    """The newest runs of many moves, newest first."""
    return await desk.run(_all)


@router.get("/move-runs/{run_id}", responses=problems(401, 404, 503))
async def get_move_run(run_id: PathId, desk: AsSupport) -> MoveRunDetails:
    """How far a run is, with its moves."""
    return await desk.run(_details, run_id)


def _drain(session: Session, name: str, body: NewPace, desk: Desk) -> MoveRunOut:
    pace = body.pace(desk.control.settings)
    return _shown(session, relocating.drain(session, desk.workflows, name, desk.actor, pace))


def _preview_drain(session: Session, name: str, body: NewPace, desk: Desk) -> OutlookOut:
    settings = desk.control.settings
    return _foreseen(relocating.foresee_drain(session, name, settings.limits.full_at), body.pace(settings))


def _cancel_drain(session: Session, name: str, body: Ending, desk: Desk) -> CalledOff:
    found = relocating.cancel_drain(session, desk.workflows, name, desk.actor, call_off=body.call_off)
    return CalledOff(tenants=found)


def _rebalance(session: Session, body: NewRebalance, desk: Desk) -> Rebalancing:
    settings = desk.control.settings
    run = relocating.rebalance(session, desk.actor, body.pace(settings), settings.limits.full_at, body.max)
    return Rebalancing(run=_shown(session, run) if run is not None else None)


def _preview_rebalance(session: Session, body: NewRebalance, desk: Desk) -> OutlookOut:
    settings = desk.control.settings
    return _foreseen(relocating.foresee_rebalance(session, settings.limits.full_at, body.max), body.pace(settings))


def _cancel_rebalance(session: Session, body: Ending, desk: Desk) -> CalledOff:
    return CalledOff(tenants=relocating.cancel_rebalance(session, desk.actor, call_off=body.call_off))


def _all(session: Session) -> MoveRunList:
    return MoveRunList(items=[_shown(session, row) for row in move_runs.newest(session, LISTED)])


def _details(session: Session, run_id: UUID) -> MoveRunDetails:
    run = _shown(session, move_runs.get(session, run_id))
    moves = [move_shown(session, move) for move, _ in move_runs.moves_of(session, run_id)]
    return MoveRunDetails(**run.model_dump(), moves=moves)


def _foreseen(outlook: Outlook, pace: Pace) -> OutlookOut:
    return OutlookOut(
        moves=[
            JourneyOut(
                tenant=step.resident.slug,
                model=step.resident.model,
                source=step.resident.server,
                target=step.to,
                bytes=step.resident.bytes,
                reason=step.reason,
            )
            for step in outlook.journeys
        ],
        stays=[StayOut(tenant=step.resident.slug, reason=step.reason) for step in outlook.stays],
        bytes=sum(step.resident.bytes for step in outlook.journeys),
        seconds=seconds_for(outlook.journeys, pace.at_once),
    )


def _shown(session: Session, row: MoveRunRow) -> MoveRunOut:
    found = move_runs.progress(session, row)
    counted = {name: getattr(found, name) for name in ("moved", "moving", "failed", "left", "kept")}
    own = {name: getattr(row, name) for name in MoveRunOut.model_fields if name not in counted}
    return MoveRunOut.model_validate(own | counted)
