"""Servers, and the databases on them."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Index, Integer, func, text
from sqlalchemy.orm import Mapped, mapped_column

from control_plane.registry.tables.base import Base


class ServerRow(Base):
    """One PostgreSQL cluster that may hold tenants. `status` is active, draining or lost."""

    __tablename__ = "servers"

    name: Mapped[str] = mapped_column(primary_key=True)
    provider: Mapped[str]
    region: Mapped[str]
    host: Mapped[str]
    port: Mapped[int] = mapped_column(Integer)
    models: Mapped[list[str]]
    """Which models it takes."""
    capacity: Mapped[int] = mapped_column(Integer)
    """How many tenants it takes."""
    connections: Mapped[int] = mapped_column(Integer)
    """How many server connections poolers may hold there."""
    status: Mapped[str]
    labels: Mapped[list[str]] = mapped_column(server_default=text("'{}'"))
    settings: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    """What its provider has to know of it; never a secret."""
    sealed_passwords: Mapped[str | None]
    """Of the platform's own roles there, by role, sealed for the server's name; none where sockets do without."""
    capacity_bytes: Mapped[int | None] = mapped_column(BigInteger)
    """How much its databases may hold together; without a number, as much as they like."""
    used_bytes: Mapped[int | None] = mapped_column(BigInteger)
    """What its databases held at `measured_at`."""
    capacity_per_minute: Mapped[int | None] = mapped_column(BigInteger)
    """How many transactions a minute it takes; without a number it makes no difference how many there are."""
    per_minute: Mapped[int | None] = mapped_column(BigInteger)
    """How many its databases had when it was last measured; None until they were counted twice."""
    measured_at: Mapped[datetime | None]
    warm: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    """How many finished silos it keeps ready."""
    move_slots: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    """Replication slots of moves there, when they were last looked at."""
    move_wal_bytes: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    """How much of its log it keeps for the one of them that is furthest behind."""
    failure: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class DatabaseRow(Base):
    """One database that holds tenants: a pool, a bridge or a silo.

    `state` is building (a silo that is not all there yet), ready, warm (a finished silo that nobody lives in yet),
    going (it is about to be dropped) or gone (it was; its row stays for the homes and runs that name it).
    """

    __tablename__ = "databases"
    __table_args__ = (Index(None, "server", "name", unique=True),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    server: Mapped[str]
    """On the roll, unless the database is gone: servers may be struck off, and rows of what was there stay."""
    name: Mapped[str]
    model: Mapped[str]
    alias: Mapped[str] = mapped_column(unique=True)
    """Its name at the pooler."""
    login: Mapped[str]
    """The app's login: of two that take turns, the one that is used now."""
    sealed_password: Mapped[str | None]
    """The app login's password, sealed; none on one machine, where sockets do without."""
    next_login: Mapped[str | None]
    """While the login is being changed: the one that comes after it, or has come already. Both work for that long."""
    next_sealed_password: Mapped[str | None]
    """Of whichever login is not used: of the next one, then of the one that goes."""
    home_revision: Mapped[str | None]
    state: Mapped[str] = mapped_column(server_default=text("'ready'"))
    used_bytes: Mapped[int | None] = mapped_column(BigInteger)
    """What it held when its server was last measured."""
    per_minute: Mapped[int | None] = mapped_column(BigInteger)
    """How many transactions it had a minute, between the last two times that they were counted."""
    counted: Mapped[int | None] = mapped_column(BigInteger)
    """Transactions since its server counts them, at `counted_at`."""
    counted_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
