"""What provisioning works with: one object made by the entry point and passed down."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from sqlalchemy import Engine

from control_plane.domain.server import Server
from control_plane.doors import Doors
from control_plane.keyring import Keyring
from control_plane.registry.fleet import Revisions
from control_plane.routing.seam import TenantApp
from control_plane.settings import Settings
from control_plane.stores.secrets import Secrets
from migrations.fleet.chains import Chain, tenant_chain
from migrations.fleet.references import References
from provisioning.databases import Builder
from provisioning.duty import Duty
from provisioning.pooler.apply import Pooler


@dataclass(frozen=True, kw_only=True)
class Estate:
    """The settings, the control database, the keys and the tenant app of one platform."""

    settings: Settings
    engine: Engine
    keyring: Keyring
    app: TenantApp

    @cached_property
    def doors(self) -> Doors:
        """The way to every server."""
        return Doors.of(self.settings, self.keyring)

    @property
    def chain(self) -> Chain:
        """The tenant app's chain."""
        return tenant_chain(self.app.migrations)

    @cached_property
    def pooler(self) -> Pooler:
        """The platform's pooler."""
        return Pooler(self.settings, self.engine, self.secrets)

    @cached_property
    def secrets(self) -> Secrets:
        """Where passwords to homes are kept."""
        return Secrets(self.settings, self.keyring)

    @property
    def references(self) -> References:
        """What targets are held against: homes built by the same hands as all others, read and dropped again."""

        def furnish(server: Server, database: str, revisions: Revisions) -> None:
            self.builder(server).build_shared(database, revisions, with_tables=True)

        return References(self.engine, self.chain, furnish, self.doors)

    def duty(self) -> Duty:
        """For long work that nobody waits for; each piece of work has its own."""
        return Duty(self.settings.limits.background_share)

    def builder(self, server: Server) -> Builder:
        """What builds on that server."""
        return Builder(server=server, tenant_chain=self.chain, doors=self.doors)
