"""A platform of its own with one more server, `far`: reached by TCP, its administrator no superuser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import psycopg
from psycopg import sql

from control_plane.domain.route import Home, Role
from control_plane.domain.server import Server, ServerStatus
from control_plane.domain.tenant import Model, Plan, Status
from control_plane.doors import sealed
from control_plane.keyring import Keyring
from control_plane.registry import servers
from control_plane.registry.engine import transaction
from control_plane.registry.tables import DatabaseRow
from control_plane.tenants import service
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest, running_platform
from tests.servers.apart import Apart
from tests.servers.remote import RemoteServer, remote_server
from tests.waiting import until

NAME = "far"
OTHERS = "SELECT query FROM pg_stat_activity WHERE usename = current_user AND pid <> pg_backend_pid()"


def server_on_roll(remote: RemoteServer, keyring: Keyring, name: str = NAME, **others: Any) -> Server:
    """It as the roll would have it."""
    facts: dict[str, Any] = {
        "name": name,
        "provider": "existing",
        "region": "elsewhere",
        "host": remote.host,
        "port": remote.port,
        "models": tuple(Model),
        "capacity": 100,
        "connections": 60,
        "status": ServerStatus.ACTIVE,
        "admin": remote.admin,
        "ca": remote.ca,
        "sealed_passwords": sealed(keyring, name, remote.passwords),
        "accepts_open_catalogue": True,
    }
    return Server(**facts | others)


@dataclass(frozen=True, kw_only=True)
class Far:
    """The platform, and the server whose superuser is the test alone."""

    platform: PlatformUnderTest
    remote: RemoteServer

    @property
    def server(self) -> Server:
        """It as the roll has it."""
        return self.platform.server(NAME)

    def enter(self, **others: Any) -> None:
        """Have the roll know it, or know it otherwise."""
        with transaction(self.platform.engine) as session:
            servers.register(session, server_on_roll(self.remote, self.platform.keyring, **others))

    def tenant(self, model: Model) -> TenantUnderTest:
        """A tenant that lives there, active and served, with an owner's key."""
        platform, slug = self.platform, f"t{uuid4().hex[:10]}"
        owner = service.OwnerWish(email=f"owner@{slug}.example", name="Olive Owner")
        wish = service.TenantWish(slug=slug, name=slug, plan=Plan.STARTER, model=model, server=NAME, owner=owner)
        with transaction(platform.engine) as session:
            tenant_id = service.create(session, platform.workflows, wish, "tests").id
        platform.wait_for(tenant_id, Status.ACTIVE)
        key = platform.new_key(tenant_id, Role.OWNER)
        tenant = TenantUnderTest(platform=platform, id=tenant_id, slug=slug, model=model, key=key)
        until(lambda: tenant.http.get("/api/me").status_code == 200, what=f"{slug} answers")
        return tenant

    def inside(self, tenant: TenantUnderTest) -> psycopg.Connection[Any]:
        """The superuser's connection to the tenant's database, its schema on the search path."""
        home = home_of(tenant)
        connection = self.remote.superuser(home.database)
        connection.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(home.schema)))
        return connection


@contextmanager
def far_platform(network: Apart | None = None) -> Iterator[Far]:
    """Both, for as long as the block lasts; no tenant is there yet."""
    with remote_server(network=network) as remote, running_platform() as platform:
        far = Far(platform=platform, remote=remote)
        platform.others[NAME] = remote.superuser
        far.enter()
        yield far


def spy(far: Far, thief: TenantUnderTest) -> list[str]:
    """What the login of the thief's database, past the pooler, reads of others' sessions there."""
    row = database_of(thief)
    assert row.sealed_password is not None
    password = far.platform.keyring.unseal(row.sealed_password, belongs_to=str(row.id))
    with far.remote.connect(row.login, row.name, password=password) as login:
        return [query for (query,) in login.execute(OTHERS).fetchall()]


def home_of(tenant: TenantUnderTest) -> Home:
    """Where its route leads."""
    home = tenant.route.home
    assert home is not None
    return home


def database_of(tenant: TenantUnderTest) -> DatabaseRow:
    """Its database as the roll has it."""
    with transaction(tenant.platform.engine) as session:
        return servers.database(session, home_of(tenant).database_id)
