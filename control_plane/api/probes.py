"""Whether the process lives, and whether it can serve."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from control_plane.api.control import TheControl
from control_plane.api.errors import problems
from control_plane.domain.errors import UnavailableError

router = APIRouter(tags=["probes"])


class RollNotLoadedError(UnavailableError):
    """The roll has not been loaded yet."""

    code = "roll_not_loaded"


class Health(BaseModel):
    """The process is alive."""

    status: Literal["ok"] = "ok"


class RollState(BaseModel):
    """The roll as this process has it."""

    version: int
    age_s: float
    tenants: int


class Readiness(BaseModel):
    """Known tenants can be served, whatever the control database does."""

    status: Literal["ready"] = "ready"
    roll: RollState
    control_database: Literal["answers", "down"]


@router.get("/healthz")
async def get_health() -> Health:
    """Whether the process is alive; nothing else is asked."""
    return Health()


@router.get("/readyz", responses=problems(503))
async def get_readiness(control: TheControl) -> Readiness:
    """Whether known tenants can be served; a control database that is down does not change that, and is told."""
    roll = control.parts.roll
    if roll.snapshot.version < 0:
        raise RollNotLoadedError
    state = RollState(version=roll.snapshot.version, age_s=round(roll.age_s, 3), tenants=len(roll.snapshot.by_id))
    return Readiness(roll=state, control_database="answers" if await control.answers() else "down")
