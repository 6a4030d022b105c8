"""Workflows, how far they are, and the exports that they write."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Integer, func, text
from sqlalchemy.orm import Mapped, mapped_column

from control_plane.registry.tables.base import Base


class ProgressRow(Base):
    """How far a workflow is, for whoever asks; written by its steps."""

    __tablename__ = "progress"

    workflow_id: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(Integer, primary_key=True)
    step: Mapped[str]
    duration_ms: Mapped[int] = mapped_column(Integer)
    at: Mapped[datetime] = mapped_column(server_default=func.now())


class WorkflowRow(Base):
    """A workflow that was started: of which kind, for whom, by whom, and how it ended.

    `state` is requested, running, done or failed.
    """

    __tablename__ = "workflows"

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    subject: Mapped[UUID] = mapped_column(index=True)
    actor: Mapped[str]
    state: Mapped[str] = mapped_column(server_default=text("'requested'"))
    error: Mapped[str | None]
    """Why it failed, in words."""
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    ended_at: Mapped[datetime | None]


class ExportRow(Base):
    """All of one tenant, written to a folder. `state` is requested, running, done, failed or deleted."""

    __tablename__ = "exports"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    tenant_id: Mapped[UUID] = mapped_column(ForeignKey("tenants.id"), index=True)
    actor: Mapped[str]
    state: Mapped[str] = mapped_column(server_default=text("'requested'"))
    path: Mapped[str | None]
    rows: Mapped[int | None] = mapped_column(BigInteger)
    bytes: Mapped[int | None] = mapped_column(BigInteger)
    sha256: Mapped[str | None]
    """Of its manifest, which has the sums of all files."""
    error: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    ended_at: Mapped[datetime | None]
