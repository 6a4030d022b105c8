"""Tenants of the tests: each with an owner who has a password, an API key a role, and clients that act for them."""

from __future__ import annotations

import itertools
import os
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import httpx
from starlette.types import ASGIApp

from control_plane.domain.ids import new_id
from control_plane.domain.names import SHARED_SCHEMA, bridge_schema
from control_plane.domain.route import ApiKey, Home, Role, Route
from control_plane.domain.server import Server
from control_plane.domain.tenant import Model, Plan, Status
from control_plane.doors import SOCKETS
from control_plane.keyring import Keyring
from control_plane.passwords import hashed
from control_plane.registry.fleet import Revisions
from control_plane.routing.credentials import SignedClaim, new_key, parse_key
from control_plane.routing.feed import Roll
from control_plane.routing.road import Road
from control_plane.routing.seam import NewTenant, Owner
from control_plane.routing.snapshot import RollSnapshot
from control_plane.routing.throttle import Throttle
from control_plane.settings import Limits, Settings
from migrations.fleet.chains import HOME, tenant_chain
from provisioning.databases import Builder
from tenant_app import inbox
from tests.lasting_counter import LastingCounter

PASSWORD = "correct horse battery"
PASSWORD_HASH = hashed(PASSWORD)
OWNER_EMAIL = "olga@example.com"
_numbers = itertools.count(1)


@dataclass
class FixedRoll:
    """The part of the roll that a road reads, changed by hand."""

    snapshot: RollSnapshot = field(default_factory=lambda: RollSnapshot.of([], 0))

    def subscribe(self, on_change: object) -> None:
        """Nobody is told: the road asks again by itself."""

    def refresh(self) -> None:
        """It is always fresh."""

    def put(self, route: Route) -> None:
        """That tenant as it is now."""
        self.snapshot = self.snapshot.changed([route], self.snapshot.version + 1)


@dataclass(frozen=True, kw_only=True)
class House:
    """One database that holds tenants, a road to it, and the inbox over that road."""

    builder: Builder
    model: Model
    database: str
    database_id: UUID
    revision: str
    road: Road
    roll: FixedRoll
    app: ASGIApp

    @classmethod
    def build(cls, server: Server, model: Model, revision: str, **limits: int) -> House:
        """A new database at that revision, and the app. Must be called on the event loop that will serve it."""
        keyring, database, database_id = Keyring(os.urandom(32)), f"{model}_{next(_numbers)}", new_id()
        builder = Builder(server=server, tenant_chain=tenant_chain(inbox.migrations), doors=SOCKETS)
        builder.build_shared(database, Revisions(home=HOME.head, tenant=revision), with_tables=model is Model.POOL)
        builder.install_key(database, keyring.context_key(database_id))
        settings = Settings(
            control_dsn="",
            pooler_host=server.host,
            pooler_port=server.port,
            pooler_dir=Path("/nonexistent"),
            master_key_file=Path("/nonexistent"),
            snapshot_file=Path("/nonexistent"),
            limits=Limits(**{"client_connections": 20, "connection_wait_s": 60, "logins_per_minute": 1000, **limits}),
        )
        roll = FixedRoll()
        road = Road(settings, keyring, cast(Roll, roll), revisions=inbox.revisions)
        road.throttle = Throttle(LastingCounter())
        return cls(
            builder=builder,
            model=model,
            database=database,
            database_id=database_id,
            revision=revision,
            road=road,
            roll=roll,
            app=inbox.create_asgi(road),
        )

    async def tenant(self, *, owner: bool = True) -> TenantUnderTest:
        """A new tenant, open and seeded."""
        tenant_id = new_id()
        home = Home(
            database_id=self.database_id,
            alias=self.database,
            database=self.database,
            login=self.database,
            schema=bridge_schema(tenant_id) if self.model is Model.BRIDGE else SHARED_SCHEMA,
        )
        route = Route(
            tenant_id=tenant_id,
            slug=f"tenant{next(_numbers)}",
            name="Ärzte & Co",
            plan=Plan.STARTER,
            model=self.model,
            status=Status.ACTIVE,
            epoch=1,
            revision=self.revision,
            home=home,
        )
        self.roll.put(route)
        if self.model is Model.BRIDGE:
            self.builder.build_schema(self.database, home.schema, self.revision)
        self.builder.ensure_fence(self.database, tenant_id, epoch=1)
        self.builder.set_fence(self.database, tenant_id, "open")
        new = TenantUnderTest(house=self, route=route, owner_id=new_id())
        if owner:
            await new.seed()
        return new


@dataclass
class TenantUnderTest:
    """One tenant, and how to call its app."""

    house: House
    route: Route
    owner_id: UUID

    @property
    def url(self) -> str:
        """Of its host."""
        return f"http://{self.route.slug}.localhost:8080"

    async def seed(self) -> None:
        """Write the first data, as provisioning does."""
        new = NewTenant(id=self.route.tenant_id, slug=self.route.slug, name=self.route.name)
        owner = Owner(user_id=self.owner_id, email="Olga@Example.com", name="Olga", password_hash=PASSWORD_HASH)
        async with self.house.road.enter(self.route.tenant_id) as session:
            await inbox.seed(session, new, owner)

    def client(self, **options: Any) -> httpx.AsyncClient:
        """A client at the tenant's host, with nothing in hand; it keeps cookies."""
        options = {"base_url": self.url, "transport": httpx.ASGITransport(app=self.house.app), **options}
        return httpx.AsyncClient(**options)

    def key(self, role: Role = Role.MEMBER, scopes: tuple[str, ...] = ()) -> str:
        """A new API key."""
        text, digest = new_key(self.route.tenant_id)
        key = ApiKey(id=new_id(), name=f"a key of {role}", role=role, scopes=scopes, secret_sha256=digest)
        self.route = replace(self.route, keys=(*self.route.keys, key))
        self.house.roll.put(self.route)
        assert parse_key(text)[1] == digest
        return text

    def by_key(self, role: Role = Role.MEMBER, scopes: tuple[str, ...] = ()) -> httpx.AsyncClient:
        """A client with a new API key."""
        return self.client(headers={"Authorization": f"Bearer {self.key(role, scopes)}"})

    def ticket(self, user_id: UUID, *, life_s: int = 30) -> str:
        """A ticket as signup makes them."""
        claim = SignedClaim(
            tenant_id=self.route.tenant_id, subject=user_id, nonce=new_id(), expires=int(time.time()) + life_s
        )
        return self.house.road.tickets.sign(claim)

    async def signed_in(self, email: str = OWNER_EMAIL, password: str = PASSWORD) -> httpx.AsyncClient:
        """A client of a person who has signed in."""
        client = self.client()
        answer = await client.post("/api/login", json={"email": email, "password": password})
        assert answer.status_code == 200, answer.text
        return client

    async def person(self, role: str, email: str) -> httpx.AsyncClient:
        """A client of a new person of that role, signed in."""
        new = {"email": email, "name": role.title(), "role": role, "password": PASSWORD}
        answer = await self.by_key(Role.OWNER).post("/api/users", json=new)
        assert answer.status_code == 201, answer.text
        return await self.signed_in(email)
