"""Who is at the door: host, API key and cookie become a visitor of one tenant, before any home is touched.

FastAPI dependencies for tenant apps. An app asks for `TheVisitor` and `TheSession` and knows nothing else of the
platform.
"""

from __future__ import annotations

import contextlib
import hmac
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.domain.errors import ForbiddenError, UnknownTenantError
from control_plane.domain.route import ApiKey, Route
from control_plane.routing.credentials import (
    COOKIE,
    KeyRefusedError,
    SessionRefusedError,
    SignedClaim,
    parse_key,
)
from control_plane.routing.road import Road, refuse_unless_served
from control_plane.routing.snapshot import RollSnapshot

LOOPBACK = frozenset({"127.0.0.1", "[::1]"})
_KNOWN = "copyhold.visitor"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class CrossOriginError(ForbiddenError):
    """This request came from another site's page."""

    code = "cross_origin"


@dataclass(frozen=True, kw_only=True)
class Visitor:
    """Whose door was knocked at, and with what in hand. `key` and `session` are genuine when they are there."""

    route: Route
    key: ApiKey | None = None
    session: SignedClaim | None = None


def host_of(request: Request) -> str:
    """The host the request was sent to: small letters, no port, no final dot."""
    host = request.headers.get("host", "").strip().lower()
    name, _, port = host.rpartition(":")
    return (name if name and port.isdigit() else host).rstrip(".")


def slug_in(host: str, base_domain: str) -> str | None:
    """The slug that a host names, or None for the control plane's own host. UnknownTenantError for foreign hosts."""
    if host == base_domain or not host:
        return None
    slug, _, rest = host.partition(".")
    if rest == base_domain:
        return slug
    if host in LOOPBACK:
        return None
    raise UnknownTenantError


async def visitor(request: Request) -> Visitor:
    """The visitor of this request; 401, 403 or 404 refusals as errors. Touches memory alone."""
    return visitor_of(request)


def visitor_of(request: Request) -> Visitor:
    """As `visitor`, for dependencies: FastAPI takes some 20 µs for each one that stands in another, cached or not."""
    known: Visitor | None = request.scope.get(_KNOWN)
    if known is None:
        known = request.scope[_KNOWN] = _looked_at(request)
    return known


def _looked_at(request: Request) -> Visitor:
    road: Road = request.app.state.road
    slug = slug_in(host_of(request), road.settings.base_domain)
    scheme, _, shown = request.headers.get("authorization", "").partition(" ")
    if shown and scheme.lower() == "bearer":
        return _with_key(road, slug, shown.strip())
    route = _at_host(road, slug)
    cookie = request.cookies.get(COOKIE)
    if cookie is None:
        return Visitor(route=route)
    refuse_other_sites(request)
    claim = road.sessions.read(cookie)
    if claim.tenant_id != route.tenant_id:
        raise SessionRefusedError
    return Visitor(route=route, session=claim)


def named_tenant(request: Request, roll: RollSnapshot, base_domain: str) -> UUID | None:
    """Whom the request names by its host, or else by an API key; says nothing of whether it may come in."""
    with contextlib.suppress(UnknownTenantError, KeyRefusedError):
        slug = slug_in(host_of(request), base_domain)
        if slug is None:
            return parse_key(request.headers.get("authorization", "").partition(" ")[2].strip())[0]
        if slug in roll.by_slug:
            return roll.by_slug[slug].tenant_id
    return None


async def host_tenant(request: Request) -> Route:
    """The tenant whose host was asked, whatever is shown: an old cookie must not keep anybody from signing in."""
    road: Road = request.app.state.road
    return _at_host(road, slug_in(host_of(request), road.settings.base_domain))


async def tenant_session(request: Request) -> AsyncIterator[AsyncSession]:
    """The request's one transaction in the visitor's home; committed before the response is sent."""
    road: Road = request.app.state.road
    async with road.enter(visitor_of(request).route.tenant_id) as session:
        yield session


TheHost = Annotated[Route, Depends(host_tenant)]
TheVisitor = Annotated[Visitor, Depends(visitor)]
TheSession = Annotated[AsyncSession, Depends(tenant_session, scope="function")]


def _at_host(road: Road, slug: str | None) -> Route:
    route = road.roll.snapshot.by_slug.get(slug) if slug else None
    if route is None:
        raise UnknownTenantError
    refuse_unless_served(route)
    return route


def _with_key(road: Road, slug: str | None, shown: str) -> Visitor:
    tenant_id, digest = parse_key(shown)
    route = road.roll.snapshot.by_id.get(tenant_id)
    # A key of another tenant, an unknown one and a revoked one are answered alike.
    if route is None or (slug is not None and route.slug != slug):
        raise KeyRefusedError
    for key in route.keys:
        if hmac.compare_digest(key.secret_sha256, digest):
            refuse_unless_served(route)
            return Visitor(route=route, key=key)
    raise KeyRefusedError


def refuse_other_sites(request: Request) -> None:
    """CrossOriginError for an unsafe request that another site's page started; asked of whoever shows a cookie.

    A cookie travels with requests that other tenants' pages start (their hosts may be same-site with this one).
    """
    if request.method in SAFE_METHODS:
        return
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2].lower() != request.headers.get("host", "").lower():
        raise CrossOriginError
    if origin is None and request.headers.get("sec-fetch-site", "none") not in {"same-origin", "none"}:
        raise CrossOriginError
