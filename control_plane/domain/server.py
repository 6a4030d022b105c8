"""Servers as the platform knows them."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from control_plane.domain.tenant import Model


class ServerStatus(enum.StrEnum):
    """Whether a server takes new tenants."""

    ACTIVE = "active"
    DRAINING = "draining"


@dataclass(frozen=True, kw_only=True)
class Server:
    """One PostgreSQL cluster that may hold tenants."""

    name: str
    provider: str
    region: str
    host: str
    """A host name or the folder of its unix socket."""
    port: int
    models: tuple[Model, ...]
    capacity: int
    """How many tenants it takes."""
    connections: int
    """How many connections the pooler may hold there: max_connections less what others need."""
    status: ServerStatus
    labels: tuple[str, ...] = ()
    """Words that tenants are placed by; see `placement`."""
    capacity_bytes: int | None = None
    """How much its databases may hold together; without a number, as much as they like."""
    used_bytes: int | None = None
    """What they held when they were last measured."""
