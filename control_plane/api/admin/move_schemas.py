"""What staff see of moves and what they send about them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field

from control_plane.api.inputs import Input, Name, Output
from control_plane.domain.moving import Phase
from control_plane.domain.tenant import Model
from control_plane.tenants.moving import UNDO_WINDOW, UNDO_WINDOW_MAX


class NewMove(Input):
    """Where a tenant is to live."""

    model: Model
    server: Name | None = None
    """Chosen without it."""
    undo_window_s: Annotated[int, Field(ge=0, le=int(UNDO_WINDOW_MAX.total_seconds()))] = int(
        UNDO_WINDOW.total_seconds()
    )
    """How long the home that it leaves is kept; with 0 what it has there is deleted at once."""


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
