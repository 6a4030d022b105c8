"""One tenant as the matrix needs it: callers of every role by key and by cookie, and as many things as are asked for.

Rows are written straight into the home, so that a world can be furnished whatever state the layers under test are in;
that the app takes them for its own is shown by every control of the matrix.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg import sql

from control_plane.domain.ids import new_id
from control_plane.domain.route import Role
from control_plane.domain.tenant import Model, Plan, Status
from control_plane.passwords import hashed
from control_plane.registry import tenants
from control_plane.registry.engine import transaction
from control_plane.routing.credentials import COOKIE, SignedClaim, session_signer, ticket_signer
from control_plane.tenants import service
from tests.isolation.operations import Credential
from tests.isolation.positions import Things
from tests.platform_under_test import PASSWORD, PlatformUnderTest, TenantUnderTest
from tests.waiting import until

PASSWORD_HASH = hashed(PASSWORD)
LIFE = timedelta(hours=6)
TABLES = ("messages", "conversations", "sessions", "users")
"""Of the inbox, each before those that it refers to."""


@dataclass(frozen=True, kw_only=True)
class Holder:
    """A caller of one tenant: a user and what they show."""

    user: UUID
    credential: Credential
    shown: str

    @property
    def headers(self) -> dict[str, str]:
        """What goes with each request."""
        if self.credential is Credential.KEY:
            return {"Authorization": f"Bearer {self.shown}"}
        return {"Cookie": f"{COOKIE}={self.shown}"}


@dataclass(kw_only=True)
class World:
    """A tenant that is full of its own canary: every word in it that people wrote holds it."""

    tenant: TenantUnderTest
    canary: str
    home: psycopg.Connection[Any]
    callers: dict[tuple[str, Credential], Holder] = field(default_factory=dict)
    """By role, and `neighbour`: a member who is not the one that things belong to."""
    narrow: dict[str, Holder] = field(default_factory=dict)
    """Owners' keys that are good for one scope alone, by that scope."""
    login: str = ""
    lasting: set[UUID] = field(default_factory=set)
    """Rows that every matrix needs."""

    @classmethod
    def found(cls, platform: PlatformUnderTest, model: str) -> World:
        """A new tenant with everybody in it. The platform's API knows its keys when this returns."""
        canary = f"canary{uuid4().hex}"
        tenant = _new_tenant(platform, Model(model), canary)
        world = cls(tenant=tenant, canary=canary, home=platform.home_of(tenant))
        world._fill()
        # The last key made: a known one without the scope is refused otherwise than an unknown one.
        last = platform.client(world.host, world.narrow["write"].shown)
        until(lambda: last.get("/api/me").status_code == 403, what=f"the keys of {tenant.slug} are known")
        return world

    @property
    def id(self) -> UUID:
        """The tenant's."""
        return self.tenant.id

    @property
    def host(self) -> str:
        """The tenant's."""
        return self.tenant.host

    def caller(self, name: str, credential: Credential) -> Holder:
        """The one of that role (or `neighbour`) and credential."""
        return self.callers[name, credential]

    def signed_in(self, user: UUID) -> Holder:
        """That person in a new session."""
        return Holder(user=user, credential=Credential.COOKIE, shown=self.cookie_of(self._session(user)))

    def cookie_of(self, session: UUID) -> str:
        """A cookie that says this tenant and that session: genuine if the session is this tenant's."""
        expires = int((datetime.now(UTC) + LIFE).timestamp())
        signer = session_signer(self.tenant.platform.keyring)
        return signer.sign(SignedClaim(tenant_id=self.id, subject=session, nonce=new_id(), expires=expires))

    def things(self, holder: Holder) -> Things:
        """New things, made by that user of this tenant."""
        email, conversation, message = f"{uuid4().hex}@example.com", new_id(), new_id()
        user = self._person(email, Role.MEMBER)
        session_of = holder.user if holder.credential is Credential.COOKIE else user
        self._insert("conversations", id=conversation, subject=f"About {self.canary}", created_by=holder.user)
        self._insert(
            "messages",
            id=message,
            conversation_id=conversation,
            author_id=holder.user,
            body=f"Nobody else knows of {self.canary}",
        )
        return Things(
            tenant=self.id,
            tickets=ticket_signer(self.tenant.platform.keyring),
            holder=holder.user,
            conversation=conversation,
            message=message,
            user=user,
            user_email=email,
            session=self._session(session_of),
            session_of=session_of,
            login=self.login,
            new_email=f"{uuid4().hex}@example.com",
        )

    def sweep(self) -> None:
        """Delete all things there are: a matrix looks at every row after every case."""
        for table in TABLES:
            statement = sql.SQL("DELETE FROM {} WHERE tenant_id = %s AND id <> ALL (%s)")
            self.home.execute(statement.format(sql.Identifier(table)), [self.id, list(self.lasting)])

    def close(self) -> None:
        """Give the connection back."""
        self.home.close()

    def _fill(self) -> None:
        for name, role in (*((str(role), role) for role in Role), ("neighbour", Role.MEMBER)):
            self.callers[name, Credential.KEY] = self._key(role)
            person = self._person(f"{name}-{self.canary}@example.com", role)
            self.callers[name, Credential.COOKIE] = self.signed_in(person)
        self.narrow = {scope: self._key(Role.OWNER, scope) for scope in ("read", "write")}
        self.login = f"login-{self.canary}@example.com"
        self._person(self.login, Role.MEMBER, PASSWORD_HASH)
        for table in TABLES:
            statement = sql.SQL("SELECT id FROM {} WHERE tenant_id = %s").format(sql.Identifier(table))
            self.lasting |= {row[0] for row in self.home.execute(statement, [self.id])}

    def _key(self, role: Role, *scopes: str) -> Holder:
        with transaction(self.tenant.platform.engine) as session:
            tenant = tenants.get(session, self.id)
            row, key = service.create_key(session, tenant, name=f"{role} key", role=role, scopes=scopes, actor="tests")
        self._insert("users", id=row.id, name=row.name, role=str(role), kind="service")
        return Holder(user=row.id, credential=Credential.KEY, shown=key)

    def _person(self, email: str, role: Role, password_hash: str | None = None) -> UUID:
        user = new_id()
        name = f"Somebody {self.canary}"
        self._insert(
            "users", id=user, email=email, name=name, role=str(role), kind="person", password_hash=password_hash
        )
        return user

    def _session(self, user: UUID) -> UUID:
        session = new_id()
        self._insert("sessions", id=session, user_id=user, expires_at=datetime.now(UTC) + LIFE)
        return session

    def _insert(self, table: str, **values: object) -> None:
        columns: Mapping[str, object] = {"tenant_id": self.id, **values}
        statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, columns)),
            sql.SQL(", ").join(sql.Placeholder() * len(columns)),
        )
        self.home.execute(statement, list(columns.values()))


def _new_tenant(platform: PlatformUnderTest, model: Model, canary: str) -> TenantUnderTest:
    """As `platform.tenant`, but the owner is a canary too: provisioning must not leave them lying about."""
    slug = f"t{uuid4().hex[:10]}"
    owner = service.OwnerWish(email=f"first-{canary}@example.com", name=f"First {canary}", password_hash=PASSWORD_HASH)
    wish = service.TenantWish(slug=slug, name=f"Company {slug}", plan=Plan.STARTER, model=model, owner=owner)
    with transaction(platform.engine) as session:
        tenant_id = service.create(session, platform.workflows, wish, "tests").id
    platform.wait_for(tenant_id, Status.ACTIVE)
    key = platform.new_key(tenant_id, Role.OWNER)
    return TenantUnderTest(platform=platform, id=tenant_id, slug=slug, model=model, key=key)
