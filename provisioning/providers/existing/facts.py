"""What is found out about a server that others run, before anything is judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from provisioning.providers.existing.address import Address
from provisioning.roles import BACKUP, MIGRATOR, MOVER, OWNER

PLATFORM_ROLES = (OWNER, MIGRATOR, MOVER, BACKUP)
LOGINS = (MIGRATOR, MOVER, BACKUP)
MAY_REPLICATE = frozenset({"rds_replication", "cloudsqlreplica"})
"""Roles of managed servers whose members may replicate without the attribute."""


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """Why the administrator does not get in. Nothing else is known of such a server."""

    what: str
    """Stable name: name, port, tls, certificate, login, answer."""
    why: str
    remedy: str


@dataclass(frozen=True, kw_only=True)
class RoleFacts:
    """One role, as pg_roles has it."""

    login: bool = False
    superuser: bool = False
    createdb: bool = False
    createrole: bool = False
    replication: bool = False
    bypassrls: bool = False
    connection_limit: int = -1
    member_of: frozenset[str] = frozenset()
    """Directly or through others."""
    admin_of: frozenset[str] = frozenset()
    """Those that it may grant."""

    @property
    def may_replicate(self) -> bool:
        """Whether it may read a slot."""
        return self.replication or bool(self.member_of & MAY_REPLICATE)


@dataclass(frozen=True, kw_only=True)
class Facts:
    """One server, as its administrator sees it."""

    address: Address
    trouble: Trouble | None = None
    version: int = 0
    """As server_version_num."""
    settings: Mapping[str, str] = field(default_factory=dict)
    standby: bool = False
    roles: Mapping[str, RoleFacts] = field(default_factory=dict)
    """The administrator and those of the platform that are there."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """The platform's logins that do not get in with the password meant for them, and what they were told."""
    above: tuple[str, ...] = ()
    """Other logins that no rule holds: superusers, and whoever goes past row-level security."""
    open_databases: tuple[str, ...] = ()
    """Databases that everybody may connect to."""
    encoding: str = "UTF8"
    """Of template1, from which databases are made."""
    locale: str = ""
    replica_role: bool = True
    """Whether copyhold_mover may set session_replication_role, by which it erases rows and copies them."""
    connections: int = 0
    """Sessions that are there now."""
    used_bytes: int = 0
    """What those of its databases hold that the administrator may look at."""

    @property
    def admin(self) -> RoleFacts:
        """What its administrator may do."""
        return self.roles.get(self.address.admin, RoleFacts())

    @property
    def major(self) -> int:
        """The major version."""
        return self.version // 10000

    def may_set_password(self, role: str) -> bool:
        """Whether the administrator may give an existing role another password."""
        admin, there = self.admin, self.roles[role]
        if admin.superuser:
            return True
        if self.major < 16:  # every role that is neither superuser nor replicates
            return admin.createrole and not there.replication
        return admin.createrole and role in admin.admin_of

    def may_create(self, role: str) -> bool:
        """Whether the administrator may make that role of the platform, with all that it needs."""
        admin = self.admin
        if admin.superuser or not admin.createrole:
            return admin.superuser
        if role == OWNER:
            return True
        if self.major < 16:
            return False
        return admin.bypassrls and (role != MOVER or admin.replication)
