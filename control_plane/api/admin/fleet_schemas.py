"""What staff see of runs over the fleet, and what they send to start one."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, Field

from control_plane.api.inputs import Input, Name, Output
from control_plane.domain.tenant import Model, Plan

Names = Annotated[list[Name], Field(max_length=1000)]
Share = Annotated[str, Field(max_length=8, pattern=r"^([1-9]\d{0,5}|\d{1,2}(\.\d{1,3})?%|100%)$")]
Failures = Annotated[str, Field(max_length=8, pattern=r"^(\d{1,6}|\d{1,2}(\.\d{1,3})?%|100%)$")]


def _all_of_them(waves: list[str]) -> list[str]:
    if waves[-1] != "100%":
        raise ValueError("the last wave has to be 100%")
    return waves


Waves = Annotated[list[Share], Field(min_length=1, max_length=20), AfterValidator(_all_of_them)]


class Chosen(Input):
    """Targets by what is said of their tenant; a pool is named by its database."""

    names: Names = []
    """Slugs, ids, or names of databases."""
    labels: Names = []
    plans: Annotated[list[Plan], Field(max_length=10)] = []
    servers: Names = []


class NewRun(Input):
    """A run over the fleet to be started. What is left out is as `copyhold migrate up` has it."""

    to: Annotated[str, Field(max_length=63, pattern=r"^[0-9A-Za-z_]+$", description="A revision, or head.")] = "head"
    waves: Waves = ["1", "100%"]
    """How far each wave goes: a number of targets, or a share of them."""
    canaries: Chosen = Chosen()
    """Whoever meets one of the conditions is in the first wave."""
    only: Chosen = Chosen()
    """Every condition that is given has to hold."""
    max_failures: Failures | None = None
    """How many targets of a wave may fail before nothing else begins."""
    at_once: Annotated[int, Field(ge=1, le=64)] | None = None
    """Targets at once on one server."""
    verify: bool = False
    """Read where every target really is before anything is planned."""


class RunOut(Output):
    """One run of a tenant migration over the fleet."""

    id: UUID
    direction: str
    to_revision: str
    actor: str
    state: str
    """requested, running, stopping, done, failed, stopped or interrupted"""
    reason: str | None
    """Why it ended before its end."""
    code_version: str
    started_at: datetime
    ended_at: datetime | None
    targets: dict[str, int]
    """How many targets are in each state."""


class RunList(Output):
    """The newest runs."""

    items: list[RunOut]


class FailedTarget(Output):
    """A target that a run could not bring to its revision."""

    chain: str
    database: str
    db_schema: str = Field(serialization_alias="schema")
    from_revision: str | None
    to_revision: str
    error: str | None


class WaveOut(Output):
    """One wave of a run; number 0 is the homes' own chain."""

    wave: int
    targets: dict[str, int]
    """How many targets are in each state."""


class RunDetails(RunOut):
    """One run with its waves and failures."""

    waves: list[WaveOut]
    failed: list[FailedTarget]


class TargetsAt(Output):
    """How many targets of a model are at a revision."""

    model: Model
    revision: str | None
    targets: int


class FleetOut(Output):
    """The fleet as a whole."""

    home_revision: str
    """What new homes' `tenancy` schemas are built at."""
    tenant_revision: str
    """What new homes' tables are built at."""
    targets: list[TargetsAt]


class RunEvent(RunOut):
    """The first line: the run as it is now."""

    event: Literal["run"] = "run"


class TargetEvent(Output):
    """A target has ended; of one that is tried again, each end is told."""

    event: Literal["target"] = "target"
    wave: int
    chain: str
    database: str
    db_schema: str = Field(serialization_alias="schema", validation_alias="schema")
    from_revision: str | None
    to_revision: str
    state: str
    """done or failed"""
    attempts: int
    duration_ms: int | None
    error: str | None


class EndEvent(RunOut):
    """The last line: the run has ended."""

    event: Literal["end"] = "end"
