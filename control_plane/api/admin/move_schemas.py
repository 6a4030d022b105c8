"""What staff see of moves and what they send about them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field

from control_plane.api.inputs import Input, Name, Output
from control_plane.domain.moving import UNDO_WINDOW_MAX, Phase, Recipe
from control_plane.domain.tenant import Model


class NewMove(Input):
    """Where a tenant is to live."""

    model: Model
    server: Name | None = None
    """Chosen without it."""
    database: Name | None = None
    """The pool or bridge that it is to go into; chosen without it."""
    undo_window_s: Annotated[int | None, Field(ge=0, le=int(UNDO_WINDOW_MAX.total_seconds()))] = None
    """How long the home that it leaves is kept, as in the settings without it; with 0 it goes at once."""
    allow_freeze: bool = False
    """Whether it may be kept waiting for as long as a copy takes, where its server can send no stream."""


class EndOut(Output):
    """One end of a move."""

    server: str
    database: str
    db_schema: str
    model: Model


class MoveOut(Output):
    """A move. Its workflow's events tell each step; `rows` of `rows_total` are copied."""

    id: UUID
    tenant_id: UUID
    actor: str
    phase: Phase
    source: EndOut | None
    target: EndOut | None
    """None until it has been chosen."""
    rows: int
    rows_total: int | None
    bytes: int
    recipe: Recipe | None
    """None until both servers have been looked at."""
    allow_freeze: bool
    expected_stall_s: float | None
    """For how long it is kept waiting while it is copied; None by a stream, where it works on."""
    note: str | None
    """What came of what was asked for, where it is something else."""
    tries: int
    """How many times it was tried to freeze the tenant."""
    stall_ms: float | None
    """For how long it was frozen."""
    verified: bool | None
    """Whether both homes had the same rows then."""
    reason: str | None
    """What is waited for, or why it was called off."""
    workflow_id: str | None
    undo_until: datetime | None
    """Until then the home that was left is kept, and there is a way back."""
    created_at: datetime
    switched_at: datetime | None
    ended_at: datetime | None


class MoveList(Output):
    """A tenant's newest moves, newest first."""

    items: list[MoveOut]


class TableSize(Output):
    """What a tenant has in one table."""

    table: str
    rows: int
    bytes: int


class Foretold(Output):
    """What a move would do and take."""

    tenant: str
    from_: Annotated[str, Field(alias="from")]
    to: str
    because: str | None
    """Why that server; None when there is no place for it: then the objections say why."""
    recipe: Recipe
    rows: int
    bytes: int
    seconds: float
    """From the beginning until the tenant has arrived."""
    stall_ms: int
    """The longest that a request may wait."""
    tables: list[TableSize]
    """The rows by table, the largest first."""
    from_moves: int
    """From how many earlier moves that is taken; without any, from figures measured elsewhere."""
    kept_s: int
    """How long the old home would be kept."""
    note: str | None
    """What would come of what is asked for, where it is something else."""
    objections: list[str]
    """What keeps it from beginning, each with what to do."""


class DryRunOut(Output):
    """A dry run of a move: `foretold` once its state is done, `error` once it has failed."""

    id: UUID
    tenant_id: UUID
    state: str
    """requested, running, done or failed."""
    foretold: Foretold | None
    error: str | None
    workflow_id: str | None
    created_at: datetime
