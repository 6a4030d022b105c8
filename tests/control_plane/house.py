"""A control plane under test: its app over a control database of its own, and what the worker would do in its place."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from sqlalchemy import Engine, text
from starlette.applications import Starlette
from starlette.types import ASGIApp

from control_plane.api.app import ControlParts, create_control_app
from control_plane.api.dispatch import ByHost
from control_plane.domain.names import SHARED_SCHEMA
from control_plane.domain.server import Server, ServerStatus
from control_plane.domain.tenant import Model, Status
from control_plane.keyring import Keyring
from control_plane.passwords import hashed
from control_plane.registry import servers, tenants
from control_plane.registry.engine import control_engine, transaction
from control_plane.registry.fleet import Revisions, set_wanted
from control_plane.registry.tables import TenantRow
from control_plane.registry.workflows import DurableWorkflows
from control_plane.routing.feed import Roll
from control_plane.routing.throttle import Throttle
from control_plane.settings import Limits, Settings
from control_plane.staff import service as staff
from control_plane.staff.roles import StaffRole
from tests.lasting_counter import LastingCounter

PASSWORD = "correct horse battery"
PASSWORD_HASH = hashed(PASSWORD)
HOST = "http://localhost:8080"
QUICK = {"signup_wait_s": 0.2, "signups_per_minute": 10_000, "logins_per_minute": 1000, "control_timeout_s": 10.0}
_numbers = itertools.count(1)
_routes: list[Any] = []


def settings_for(dsn: str, **limits: float) -> Settings:
    """Settings of a control plane on that control database, with limits that tests do not run into."""
    nowhere = Path("/nonexistent")
    return Settings(
        control_dsn=dsn,
        pooler_host="/nonexistent",
        pooler_dir=nowhere,
        master_key_file=nowhere,
        snapshot_file=nowhere,
        export_dir=Path("/nonexistent/exports"),
        limits=Limits.model_validate({**QUICK, **limits}),
    )


@dataclass(frozen=True, kw_only=True)
class ControlPlane:
    """The app, its parts, and clients of it."""

    parts: ControlParts
    app: ASGIApp = field(repr=False)

    @property
    def engine(self) -> Engine:
        """The control database."""
        return self.parts.engine

    def client(self, **options: Any) -> httpx.AsyncClient:
        """Somebody with nothing in hand; keeps cookies."""
        transport = httpx.ASGITransport(app=self.app)
        return httpx.AsyncClient(**{"base_url": HOST, "transport": transport, **options})

    def staff(self, role: StaffRole = StaffRole.ADMIN, email: str | None = None) -> httpx.AsyncClient:
        """A new member of staff, with a token."""
        return self.client(headers={"Authorization": f"Bearer {self.staff_token(role, email)}"})

    def staff_token(self, role: StaffRole = StaffRole.ADMIN, email: str | None = None) -> str:
        """The token of a new member of staff, whose password is PASSWORD."""
        with transaction(self.engine) as session:
            address = email or f"{role}{next(_numbers)}@example.com"
            member = staff.add(session, email=address, role=role, actor="test", password_hash=PASSWORD_HASH)
            return staff.issue_token(session, member, actor="test")

    async def signed_in(self, role: StaffRole = StaffRole.ADMIN) -> httpx.AsyncClient:
        """A new member of staff in a browser."""
        email = f"{role}{next(_numbers)}@example.com"
        self.staff_token(role, email)
        client = self.client()
        answer = await client.post("/admin/login", json={"email": email, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        return client

    def finish(self, tenant_id: UUID | str) -> None:
        """What the worker does to a pool tenant, as far as the roll can see it."""
        with transaction(self.engine) as session:
            row = tenants.get(session, UUID(str(tenant_id)), lock=True)
            database = servers.ensure_database(session, "alpha", "pool_1", Model.POOL)
            tenants.ensure_home(session, row.id, database.id, SHARED_SCHEMA, Model.POOL)
            tenants.ensure_target(session, database.id, SHARED_SCHEMA, "0002")
            tenants.change_status(row, Status.ACTIVE)
            owner = tenants.pending_owner(session, row.id)
            if owner is not None:
                session.delete(owner)

    def fail(self, tenant_id: UUID | str, reason: str = "the disk is full") -> None:
        """What the worker does to a tenant that it cannot make."""
        with transaction(self.engine) as session:
            row = tenants.get(session, UUID(str(tenant_id)), lock=True)
            tenants.change_status(row, Status.FAILED, failure=reason)

    def tenant(self, slug: str) -> TenantRow:
        """The tenant of that slug."""
        with transaction(self.engine) as session:
            return tenants.find(session, slug)

    async def active_tenant(self, slug: str | None = None) -> TenantRow:
        """A new active tenant, on the roll."""
        slug = slug or f"tenant-{next(_numbers)}"
        wish = {"name": "Ärzte & Co", "slug": slug, "plan": "professional", "model": "pool"}
        answer = await self.staff().post("/admin/tenants", json=wish)
        assert answer.status_code == 202, answer.text
        self.finish(answer.json()["id"])
        await asyncio.to_thread(self.parts.roll.refresh)
        return self.tenant(slug)

    def workflows(self) -> list[str]:
        """The names of the workflows that have been started, oldest first."""
        with self.engine.connect() as connection:
            found = connection.execute(text("SELECT name FROM dbos.workflow_status ORDER BY created_at"))
            return list(found.scalars())


def _share_routes(app: Any) -> None:
    """Have it serve by the routes of this process's first app: at its first request each would work out its own."""
    router = app._app.router
    if not _routes:
        _routes.extend(router.routes)
    router.routes[:] = _routes


def control_plane_of(parts: ControlParts) -> ControlPlane:
    """The app behind the same dispatcher that a process has, which finds no tenant app."""
    outer = Starlette()
    app = create_control_app(parts)
    _share_routes(app)
    outer.state.base_domain, outer.state.control = parts.settings.base_domain, app
    outer.router.default = ByHost(outer.state)
    return ControlPlane(parts=parts, app=outer)


@asynccontextmanager
async def control_plane_on(dsn: str, **limits: float) -> AsyncIterator[ControlPlane]:
    """A control plane with servers `alpha` (pool, bridge) and `beta` (silos), which exist on the roll alone."""
    settings = settings_for(dsn, **limits)
    engine = control_engine(dsn, timeout_s=settings.limits.control_timeout_s)
    keyring = Keyring(os.urandom(32))
    with transaction(engine) as session:
        servers.register(session, server("alpha", Model.POOL, Model.BRIDGE))
        servers.register(session, server("beta", Model.SILO))
        set_wanted(session, Revisions(home="h0001", tenant="0002"), replace=True)
    roll = Roll(engine, dsn, keyring, None, poll_s=0.05)
    workflows = DurableWorkflows(engine)
    parts = ControlParts(
        settings=settings,
        engine=engine,
        workflows=workflows,
        keyring=keyring,
        roll=roll,
        throttle=Throttle(LastingCounter()),
    )
    roll.start()
    try:
        yield control_plane_of(parts)
    finally:
        await asyncio.to_thread(roll.stop)
        workflows.close()
        engine.dispose()


def server(name: str, *models: Model, capacity: int = 100) -> Server:
    """A server as the roll would know it."""
    return Server(
        name=name,
        provider="local",
        region="local",
        host="/nonexistent",
        port=1,
        models=models,
        capacity=capacity,
        connections=100,
        status=ServerStatus.ACTIVE,
    )


UNKNOWN_ID = "01900000-0000-7000-8000-000000000000"
"""An id that names nothing."""
