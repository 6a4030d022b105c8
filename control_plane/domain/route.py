"""Routes: what a request needs to know to reach a tenant's home."""

from __future__ import annotations

import enum
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from uuid import UUID

from control_plane.domain.tenant import Model, Plan, Status


class Role(enum.StrEnum):
    """What a caller may do inside one tenant; each role may do all that the ones before it may."""

    MEMBER = "member"
    ADMIN = "admin"
    OWNER = "owner"

    def allows(self, wanted: Role) -> bool:
        """Whether this role is at least `wanted`."""
        order = list(Role)
        return order.index(self) >= order.index(wanted)


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """A key as the road sees it: the SHA-256 of its secret (hex), never the secret."""

    id: UUID
    name: str
    role: Role
    scopes: tuple[str, ...]
    secret_sha256: str


@dataclass(frozen=True, kw_only=True)
class Home:
    """Where a tenant lives, as the road reaches it."""

    database_id: UUID
    alias: str
    """Name of the database at the pooler."""
    database: str
    """Name of the database at its server; the context token is bound to it."""
    login: str
    """The app's login: of two that are named after the database, the one that is used now."""
    schema: str
    sealed_password: str | None = None
    server: str = ""
    """Name of its server: what is down there may be down for all of its databases."""


@dataclass(frozen=True, kw_only=True)
class Route:
    """One tenant on the roll. `home` and `epoch` are unset (None, 0) until it has been provisioned."""

    tenant_id: UUID
    slug: str
    name: str
    plan: Plan
    model: Model
    status: Status
    epoch: int
    revision: str | None
    home: Home | None
    needs: str | None = None
    """The oldest revision that an app has to know to work with the home; see domain.compatibility."""
    keys: tuple[ApiKey, ...] = ()
    next_home: Home | None = None
    """Where it is about to be led to, while it is moved: to be looked at, never to be entered."""

    @cached_property
    def as_json(self) -> str:
        """All of it, as a file has it. Made once: of thousands few change between one writing and the next."""
        return json.dumps(asdict(self), default=str)
