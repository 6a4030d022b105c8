"""Servers as the platform knows them."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from control_plane.domain.tenant import Model

OLDEST_MAJOR = 15
"""Of PostgreSQL: row filters of publications, which moves are made of, came with it."""


class Catalogue(enum.StrEnum):
    """Whether PostgreSQL's own catalogue is closed there to tenants who share a database."""

    CLOSED = "closed"
    OPEN = "open"
    UNKNOWN = "unknown"
    """Nobody has looked yet."""


ACCEPTED = "accepted"
"""Of a catalogue: it may be open, and pools and bridges are wanted all the same."""


class ServerStatus(enum.StrEnum):
    """Whether a server takes new tenants."""

    ACTIVE = "active"
    DRAINING = "draining"
    ADDING = "adding"
    """It is being made ready, or could not be: nobody lives there."""
    REMOVING = "removing"
    """It is about to be struck off the roll: nobody lives there."""
    LOST = "lost"
    """It will not come back, and what was there is gone: what is erased there is struck off the roll alone."""


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
    capacity_per_minute: int | None = None
    """How many transactions a minute it takes; without a number it makes no difference how many there are."""
    per_minute: int | None = None
    """How many its databases had when it was last measured."""
    admin: str = "postgres"
    """The login that makes databases and roles there; it need not be a superuser."""
    ca: str = ""
    """The certificates of whoever signs the server's own, PEM; empty: whom this machine believes. For TCP alone."""
    sealed_passwords: str | None = field(default=None, repr=False)
    """Of the platform's own roles there, by role; see `doors`. None where sockets do without."""

    catalogue: Catalogue = Catalogue.UNKNOWN
    """What was found when it was last looked at. Of no account where the platform is superuser: it closes it itself."""
    accepts_open_catalogue: bool = False
    """Whether pools and bridges are wanted there all the same: somebody answers for it."""
    rds: Mapping[str, Any] = field(default_factory=dict, compare=False)
    """Of an RDS instance: its `shape` (JSON) and the `platform` that it is named for; nothing of others."""

    @property
    def is_there(self) -> bool:
        """Whether it can answer: an instance of which nobody knows the address yet cannot."""
        return not (self.rds and self.sealed_passwords is None)

    @property
    def may_share(self) -> bool:
        """Whether tenants may share a database there: silos may live anywhere."""
        return not self.by_tcp or self.accepts_open_catalogue or self.catalogue is Catalogue.CLOSED

    @property
    def sharing(self) -> str:
        """What is told of its catalogue: closed, open, unknown, or accepted though it may be open."""
        if not self.by_tcp or self.catalogue is Catalogue.CLOSED:
            return str(Catalogue.CLOSED)
        return ACCEPTED if self.accepts_open_catalogue else str(self.catalogue)

    @property
    def by_tcp(self) -> bool:
        """Whether it is reached by TCP, where every login has a password; otherwise by its socket."""
        return not self.host.startswith("/")
