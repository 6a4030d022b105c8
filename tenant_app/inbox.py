"""The inbox as a TenantApp. What a command asks of it (its chain, its revisions) must not cost it the whole web app."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from control_plane.routing.seam import NewTenant, Owner
from tenant_app.tables import Base

if TYPE_CHECKING:
    from sqlalchemy import MetaData
    from sqlalchemy.ext.asyncio import AsyncSession
    from starlette.types import ASGIApp

    from control_plane.routing.road import Road


@dataclass(frozen=True, kw_only=True)
class Inbox:
    """See control_plane.routing.seam.TenantApp."""

    name: str = "inbox"
    migrations: str = "migrations:tenant"
    metadata: MetaData = Base.metadata
    revisions: frozenset[str] = frozenset({"0001", "0002"})

    def create_asgi(self, road: Road) -> ASGIApp:
        """The app over `road`."""
        from tenant_app import asgi

        return asgi.create_asgi(road)

    async def seed(self, session: AsyncSession, tenant: NewTenant, owner: Owner | None) -> None:
        """See control_plane.routing.seam.TenantApp.seed."""
        from tenant_app import seed

        await seed.seed(session, tenant, owner)
