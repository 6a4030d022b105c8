"""What a plan of repairs is made from: frozen values of the roll and of what is there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from control_plane.domain.tenant import Model, Status
from control_plane.registry.fleet import Revisions
from provisioning.doctor.homes import Fence
from provisioning.doctor.roll import RollHome


@dataclass(frozen=True, kw_only=True)
class KnownDatabase:
    """A database on the roll."""

    id: UUID
    server: str
    name: str
    logins: frozenset[str]
    """The app's login, and the one that takes turns with it."""
    model: Model
    state: str
    schemas: frozenset[str]
    """Those that the ledger has targets in."""
    revisions: Revisions | None
    """What the ledger has of it; None until it has been built."""
    age: timedelta


@dataclass(frozen=True, kw_only=True)
class KnownTenant:
    """A tenant on the roll, closed ones included."""

    id: UUID
    slug: str
    status: Status
    quiet_for: timedelta
    """Since its workflow has done something."""
    workflow: str
    """The kind of its newest workflow."""
    going_on: bool
    """Whether the engine has that still to do."""


@dataclass(frozen=True, kw_only=True)
class Known:
    """What the roll says. Of closed tenants it has the tombstone alone: neither their homes nor what these were in."""

    databases: tuple[KnownDatabase, ...]
    homes: tuple[RollHome, ...]
    tenants: Mapping[UUID, KnownTenant]
    wanted: Revisions
    ill_stocked: tuple[str, ...]
    """Servers that keep more or fewer finished silos ready than they are to, and nobody sees to that."""
    dead_runs: tuple[UUID, ...]
    """Runs over the fleet that are recorded as going on, by nobody."""
    lost_workflows: tuple[str, ...]
    """Workflows that are recorded as going on, and of which the engine has nothing to do any more."""
    moving: frozenset[UUID] = frozenset()
    """Tenants with a move that has not ended."""

    def database(self, server: str, name: str) -> KnownDatabase | None:
        """The one of that name there."""
        return next((each for each in self.databases if (each.server, each.name) == (server, name)), None)

    def homes_of(self, tenant_id: UUID) -> tuple[RollHome, ...]:
        """Those of one tenant, those left included."""
        return tuple(home for home in self.homes if home.tenant_id == tenant_id)

    def lived_in(self, database_id: UUID) -> bool:
        """Whether a home on the roll is in that database, one that was left included."""
        return any(home.database_id == database_id for home in self.homes)


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What tenants have in a place: how many fences, how many rows; counted up to a limit a table."""

    tenants: int
    rows: int

    @property
    def in_words(self) -> str:
        """For a person who is about to drop it."""
        return f"fences of {self.tenants} tenants and {self.rows} rows"


@dataclass(frozen=True, kw_only=True)
class SeenDatabase:
    """A database of one of the platform's names, on the roll or not."""

    server: str
    name: str
    age: timedelta | None
    """Since it was made; None where the server does not tell."""
    sessions: int
    """Of whoever is connected to it now."""
    contents: Contents | None = None
    """Of one that is not on the roll, or has no home; None when it could not be looked into."""


@dataclass(frozen=True, kw_only=True)
class SeenRole:
    """An app login."""

    server: str
    name: str
    owns: bool
    sessions: int


@dataclass(frozen=True, kw_only=True)
class SeenSlot:
    """A replication slot of a move."""

    server: str
    name: str
    database: str | None
    active: bool


@dataclass(frozen=True, kw_only=True)
class SeenPublication:
    """A publication of a move."""

    server: str
    database: str
    name: str


@dataclass(frozen=True, kw_only=True)
class SeenSchema:
    """A tenant's schema, the platform's own, in a database on the roll. What is in it is counted: no home is there."""

    server: str
    database: str
    name: str
    age: timedelta | None
    contents: Contents | None = None


@dataclass(frozen=True, kw_only=True)
class SeenFence:
    """A tenant's fence, or its lack: None. Rows are counted of tenants without a home there, or without a fence."""

    server: str
    database: str
    database_id: UUID
    tenant_id: UUID
    fence: Fence | None
    rows: int = 0


@dataclass(frozen=True, kw_only=True)
class SeenIndex:
    """An index that is not valid and that nobody is building."""

    server: str
    database: str
    schema: str
    table: str
    name: str


@dataclass(frozen=True, kw_only=True)
class Reality:
    """What is there. What could not be looked at is missing from it, and nothing is concluded from that."""

    databases: tuple[SeenDatabase, ...] = ()
    roles: tuple[SeenRole, ...] = ()
    slots: tuple[SeenSlot, ...] = ()
    publications: tuple[SeenPublication, ...] = ()
    schemas: tuple[SeenSchema, ...] = ()
    fences: tuple[SeenFence, ...] = ()
    indexes: tuple[SeenIndex, ...] = ()
    worthless_templates: frozenset[tuple[str, str]] = frozenset()
    """By server and name: those that silos are no more copied from."""
    leftovers: frozenset[tuple[str, str]] = frozenset()
    """By server and name: what somebody was building who is gone."""
