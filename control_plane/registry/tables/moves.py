"""Tenants on their way from home to home, one at a time or many together."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from control_plane.registry.tables.base import Base


class MoveRow(Base):
    """A tenant on its way from one home to another; it has one open move at most. Of `phase`, see domain.moving."""

    __tablename__ = "moves"
    __table_args__ = (
        Index("moves_one_open", "tenant_id", unique=True, postgresql_where=text("phase NOT IN ('done', 'called_off')")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    tenant_id: Mapped[UUID] = mapped_column(ForeignKey("tenants.id"), index=True)
    actor: Mapped[str]
    source_id: Mapped[UUID] = mapped_column(ForeignKey("homes.id"), index=True)
    target_id: Mapped[UUID | None] = mapped_column(ForeignKey("homes.id"), index=True)
    """None until it has been chosen."""
    model: Mapped[str]
    """What it is to be housed as."""
    server: Mapped[str | None]
    """Where it is to go; None: wherever there is room."""
    database: Mapped[str | None]
    """The pool or bridge there that was asked for; None: whichever has room."""
    phase: Mapped[str]
    epoch: Mapped[int] = mapped_column(BigInteger)
    """Of the route, before anything was switched."""
    workflow_id: Mapped[str | None]
    """What works on it, or did last."""
    rows: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    """Copied so far."""
    bytes: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    """As they travelled."""
    rows_total: Mapped[int | None] = mapped_column(BigInteger)
    """To be copied, as far as is known."""
    tries: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    """How many times it was tried to freeze the tenant."""
    stall_ms: Mapped[float | None]
    """For how long the tenant was frozen when it was switched."""
    verified: Mapped[bool | None]
    """Whether both homes had the same rows at the switch; None when that was not compared to the end."""
    reason: Mapped[str | None]
    """What is waited for, or why it was called off, or is not cleaned up."""
    cancel_asked: Mapped[bool] = mapped_column(server_default=text("false"))
    undo_window_s: Mapped[int] = mapped_column(Integer)
    """For how long the home that was left is kept."""
    undo_until: Mapped[datetime | None]
    """Until then it is kept, and what is changed in the new one flows back."""
    revision: Mapped[str | None]
    """Of both homes at the switch: only at the same is there a way back."""
    allow_freeze: Mapped[bool] = mapped_column(server_default=text("false"))
    """Whether the tenant may be kept waiting for as long as a copy takes, where there is no other way."""
    recipe: Mapped[str | None]
    """Of domain.moving; None until both servers have been looked at."""
    expected_stall_s: Mapped[float | None]
    """For how long it will be frozen; None where that is not worth telling."""
    note: Mapped[str | None]
    """What came of what was asked for, where it is something else: no way back, say."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    switched_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    run_id: Mapped[UUID | None] = mapped_column(ForeignKey("move_runs.id"), index=True)
    """The run that it is a part of."""


class MoveRunRow(Base):
    """Many moves that belong together, begun a few at a time. `kind` is drain or rebalance; `state` is open, done,
    incomplete (some stay where they are) or cancelled.
    """

    __tablename__ = "move_runs"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[str]
    server: Mapped[str | None]
    """The one that is drained."""
    actor: Mapped[str]
    state: Mapped[str]
    at_once: Mapped[int] = mapped_column(Integer)
    """How many of them a server has at once."""
    undo_window_s: Mapped[int] = mapped_column(Integer)
    """For how long the homes that are left are kept."""
    allow_freeze: Mapped[bool] = mapped_column(server_default=text("false"))
    """Whether tenants may be kept waiting for as long as a copy takes, where there is no other way."""
    journeys: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default=text("'[]'"))
    """Of a rebalance, who goes where: `tenant_id`, `server`. Who leaves a server that is drained is found anew."""
    stays: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default=text("'[]'"))
    """At its end, who has not moved, and why: `tenant` and `reason`."""
    reason: Mapped[str | None]
    """What is waited for."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    ended_at: Mapped[datetime | None]


class DryRunRow(Base):
    """What a move would do and take, asked for by somebody who cannot look at servers; a worker's workflow answers."""

    __tablename__ = "dry_runs"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    tenant_id: Mapped[UUID] = mapped_column(ForeignKey("tenants.id"), index=True)
    actor: Mapped[str]
    model: Mapped[str]
    server: Mapped[str | None]
    database: Mapped[str | None]
    undo_window_s: Mapped[int] = mapped_column(Integer)
    allow_freeze: Mapped[bool] = mapped_column(server_default=text("false"))
    workflow_id: Mapped[str | None]
    told: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    """The same facts that `tenant move --dry-run --json` prints; None until they are known."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
