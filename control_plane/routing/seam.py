"""The seam to a tenant app: what the platform asks of an app, ours or a SaaS company's own, and nothing more."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable
from uuid import UUID

from control_plane.domain.errors import SetupError

if TYPE_CHECKING:
    from sqlalchemy import MetaData
    from sqlalchemy.ext.asyncio import AsyncSession
    from starlette.types import ASGIApp

    from control_plane.routing.road import Road


class TenantAppError(SetupError):
    """The tenant app named in the settings cannot be used."""


@dataclass(frozen=True, kw_only=True)
class Owner:
    """The first person of a tenant, as signup recorded them."""

    user_id: UUID
    email: str
    name: str
    password_hash: str | None
    """An argon2id hash (PHC string), or None for an owner who has not chosen a password."""


@dataclass(frozen=True, kw_only=True)
class NewTenant:
    """What an app is told of the tenant whose first data it makes."""

    id: UUID
    slug: str
    name: str


@runtime_checkable
class TenantApp(Protocol):
    """An app that serves one tenant at a time and never learns where that tenant lives."""

    @property
    def name(self) -> str:
        """Short name, for logs and OpenAPI."""

    @property
    def migrations(self) -> str:
        """The app's Alembic chain as `package:folder`; its tables are unqualified and protected by tenancy.protect."""

    @property
    def metadata(self) -> MetaData:
        """Every tenant table at the chain's newest revision.

        A table or column whose `info` says {"export": False} is a secret: exports leave it out.
        """

    @property
    def revisions(self) -> frozenset[str]:
        """The revisions of the chain that this version of the app works with: one unbroken range.

        A home past it is served all the same while every revision since then says `expands`; any other home is
        answered 503 with Retry-After.
        """

    def create_asgi(self, road: Road) -> ASGIApp:
        """The app; it reaches data through `road` alone."""

    async def seed(self, session: AsyncSession, tenant: NewTenant, owner: Owner | None) -> None:
        """Write a new tenant's first data, inside its context. Must be safe to repeat; must not commit."""


def load_tenant_app(name: str) -> TenantApp:
    """The app at `module:attribute`, or TenantAppError."""
    module, _, attribute = name.partition(":")
    try:
        app = getattr(importlib.import_module(module), attribute or "app")
    except (ImportError, AttributeError) as error:
        raise TenantAppError(f"the tenant app {name!r} cannot be loaded: {error}") from error
    if not isinstance(app, TenantApp):
        raise TenantAppError(f"{name!r} is not a tenant app: it lacks a part of control_plane.routing.seam.TenantApp")
    return app
