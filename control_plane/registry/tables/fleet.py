"""Targets, runs over them, and what processes and revisions need of each other."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from control_plane.registry.tables.base import Base


class TargetRow(Base):
    """One place a tenant migration runs, and the revision last seen there: a row a pool, bridge schema or silo."""

    __tablename__ = "targets"

    database_id: Mapped[UUID] = mapped_column(ForeignKey("databases.id"), primary_key=True)
    schema: Mapped[str] = mapped_column(primary_key=True)
    revision: Mapped[str | None]
    checked_at: Mapped[datetime] = mapped_column(server_default=func.now())


class FleetRow(Base):
    """One row: the revisions that new homes are built at. `migrate up` raises them before it touches a target."""

    __tablename__ = "fleet"

    only: Mapped[bool] = mapped_column(primary_key=True)
    home_revision: Mapped[str]
    tenant_revision: Mapped[str]


class MigrationRunRow(Base):
    """One run over the fleet. `state` is requested (of a worker), running, stopping, done, failed, stopped (by a rule
    or a person) or interrupted.
    """

    __tablename__ = "migration_runs"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    to_revision: Mapped[str]
    actor: Mapped[str]
    state: Mapped[str]
    direction: Mapped[str] = mapped_column(server_default=text("'up'"))
    """up or down."""
    code_version: Mapped[str] = mapped_column(server_default=text("''"))
    options: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    """What was chosen: waves, who, stop rules; `resume` goes on by them."""
    reason: Mapped[str | None]
    """Why it stopped before its end, in words."""
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    ended_at: Mapped[datetime | None]


class MigrationTargetRow(Base):
    """What became of one target in one run. `state` is planned, done, failed or not_started (the run stopped first)."""

    __tablename__ = "migration_targets"
    __table_args__ = (Index(None, "run_id", "state"),)

    run_id: Mapped[UUID] = mapped_column(ForeignKey("migration_runs.id"), primary_key=True)
    chain: Mapped[str] = mapped_column(primary_key=True)
    """home or tenant."""
    database_id: Mapped[UUID] = mapped_column(ForeignKey("databases.id"), primary_key=True)
    schema: Mapped[str] = mapped_column(primary_key=True)
    from_revision: Mapped[str | None]
    to_revision: Mapped[str]
    state: Mapped[str]
    wave: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    """Counted from 1; 0 for the homes' own chain, which goes first."""
    attempts: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    error: Mapped[str | None]
    duration_ms: Mapped[int | None] = mapped_column(Integer)


class ProcessRow(Base):
    """A process that serves, and the tenant revisions that it works with. It is alive while `seen_at` is recent."""

    __tablename__ = "processes"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[str]
    """api or worker."""
    place: Mapped[str]
    """Host name and process id, for people."""
    code_version: Mapped[str]
    revisions: Mapped[list[str]]
    roll_version: Mapped[int | None] = mapped_column(BigInteger)
    """The version of the roll that it serves by; None of a process that follows none."""
    master_keys: Mapped[list[str]] = mapped_column(server_default=text("'{}'"))
    """The ids of the master keys that it has, the current one first."""
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now())


class RevisionRow(Base):
    """A revision of the tenant tables, and the oldest one that an app has to know to work with it.

    A home at a revision that is not here is served by those alone that know that very revision.
    """

    __tablename__ = "revisions"

    name: Mapped[str] = mapped_column(primary_key=True)
    needs: Mapped[str]


class ShapeRow(Base):
    """What a freshly built target of a revision consists of. `source` is a sum of the SQL that built it."""

    __tablename__ = "shapes"

    chain: Mapped[str] = mapped_column(primary_key=True)
    revision: Mapped[str] = mapped_column(primary_key=True)
    source: Mapped[str] = mapped_column(primary_key=True)
    server_version: Mapped[int] = mapped_column(Integer, primary_key=True)
    objects: Mapped[dict[str, Any]] = mapped_column(JSONB)
    taken_at: Mapped[datetime] = mapped_column(server_default=func.now())
