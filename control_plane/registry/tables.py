"""The tables of the control database. `migrations/control` builds them; a test holds the two together."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, DateTime, ForeignKey, Index, Integer, MetaData, Text, Uuid, func, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NAMING = {
    "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
    "ck": "%(table_name)s_%(constraint_name)s_check",
    "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
    "pk": "%(table_name)s_pkey",
}


class Base(DeclarativeBase):
    """A table of the control database."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {
        str: Text,
        datetime: DateTime(timezone=True),
        UUID: Uuid,
        dict[str, Any]: JSONB,
        list[str]: ARRAY(Text),
    }


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
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


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


class TargetRow(Base):
    """One place a tenant migration runs, and the revision last seen there: a row a pool, bridge schema or silo."""

    __tablename__ = "targets"

    database_id: Mapped[UUID] = mapped_column(ForeignKey("databases.id"), primary_key=True)
    schema: Mapped[str] = mapped_column(primary_key=True)
    revision: Mapped[str | None]
    checked_at: Mapped[datetime] = mapped_column(server_default=func.now())


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


class StaffRow(Base):
    """A person of the SaaS company. `role` is support, ops or admin."""

    __tablename__ = "staff"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)
    role: Mapped[str]
    password_hash: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class StaffTokenRow(Base):
    """What a member of staff shows, as SHA-256: a bearer token (`kind` token) or a session's cookie (session)."""

    __tablename__ = "staff_tokens"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    staff_id: Mapped[UUID] = mapped_column(ForeignKey("staff.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str]
    secret_sha256: Mapped[str] = mapped_column(unique=True)
    expires_at: Mapped[datetime]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


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


class AuditRow(Base):
    """Who did what to whom. A trigger lets nobody change or delete one."""

    __tablename__ = "audit_log"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    actor: Mapped[str]
    action: Mapped[str]
    subject: Mapped[str]
    tenant_id: Mapped[UUID | None] = mapped_column(index=True)
    facts: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))


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
    undo_window_s: Mapped[int] = mapped_column(Integer)
    allow_freeze: Mapped[bool] = mapped_column(server_default=text("false"))
    workflow_id: Mapped[str | None]
    told: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    """The same facts that `tenant move --dry-run --json` prints; None until they are known."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


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
