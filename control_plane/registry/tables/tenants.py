"""Tenants: who they are, where they live, how one gets there."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from control_plane.registry.tables.base import Base


class TenantRow(Base):
    """One customer."""

    __tablename__ = "tenants"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    plan: Mapped[str]
    model: Mapped[str]
    status: Mapped[str]
    failure: Mapped[str | None]
    wanted_server: Mapped[str | None]
    wanted_region: Mapped[str | None]
    workflow_id: Mapped[str | None]
    """The workflow that is making, or made, the home."""
    stripe_customer_id: Mapped[str | None] = mapped_column(unique=True)
    labels: Mapped[list[str]] = mapped_column(server_default=text("'{}'"))
    """Words that ops choose tenants by."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    activated_at: Mapped[datetime | None]
    closing_at: Mapped[datetime | None]
    """When somebody closed it."""
    closes_at: Mapped[datetime | None]
    """When what it has is erased: until then it can be had back. None once somebody wants it back."""
    closing_from: Mapped[str | None]
    """What it was when somebody closed it: what it is again when it is had back."""
    export_first: Mapped[bool] = mapped_column(server_default=text("true"))
    """Whether all that it has is written out before it is erased."""
    closed_at: Mapped[datetime | None]


class PlanChangeRow(Base):
    """Which plan a tenant had, and since when."""

    __tablename__ = "plan_changes"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    tenant_id: Mapped[UUID] = mapped_column(ForeignKey("tenants.id"), index=True)
    plan: Mapped[str]
    actor: Mapped[str]
    at: Mapped[datetime] = mapped_column(server_default=func.now())


class PendingOwnerRow(Base):
    """The first person of a tenant, kept from signup until the home has been seeded, then deleted."""

    __tablename__ = "pending_owners"

    tenant_id: Mapped[UUID] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    user_id: Mapped[UUID]
    email: Mapped[str]
    name: Mapped[str]
    password_hash: Mapped[str | None]


class HomeRow(Base):
    """Where a tenant lives. `state` is filling (a move brings the tenant there), current, kept (the tenant has moved
    away, and what it had there stays for a while) or left.
    """

    __tablename__ = "homes"
    __table_args__ = (
        Index("homes_one_current", "tenant_id", unique=True, postgresql_where=text("state = 'current'")),
        Index(None, "database_id", "schema"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    tenant_id: Mapped[UUID] = mapped_column(ForeignKey("tenants.id"), index=True)
    database_id: Mapped[UUID] = mapped_column(ForeignKey("databases.id"))
    schema: Mapped[str]
    model: Mapped[str]
    state: Mapped[str]
    reason: Mapped[str | None]
    """Why its server was chosen, in words."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class RouteRow(Base):
    """The way to a tenant's home; `epoch` rises at every move, `revision` is its target's."""

    __tablename__ = "routes"

    tenant_id: Mapped[UUID] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    home_id: Mapped[UUID] = mapped_column(ForeignKey("homes.id"))
    epoch: Mapped[int] = mapped_column(BigInteger)


class ApiKeyRow(Base):
    """A key of a tenant: the SHA-256 of its secret, never the secret."""

    __tablename__ = "api_keys"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    tenant_id: Mapped[UUID] = mapped_column(ForeignKey("tenants.id"), index=True)
    name: Mapped[str]
    role: Mapped[str]
    scopes: Mapped[list[str]] = mapped_column(server_default=text("'{}'"))
    secret_sha256: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    revoked_at: Mapped[datetime | None]


class FeedRow(Base):
    """One row: the version of the roll. Triggers raise it at commit, so that versions follow the order of commits."""

    __tablename__ = "feed"

    only: Mapped[bool] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(BigInteger)


class ChangeRow(Base):
    """The version at which a tenant's route last changed."""

    __tablename__ = "changes"

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(BigInteger, index=True)
