"""A tenant wished for at the command line, and what its first person is handed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from uuid import UUID

from cli.wiring import Platform
from control_plane.domain.ids import new_id
from control_plane.domain.tenant import ReservedSlugError, SlugError, checked_slug, slug_of
from control_plane.registry import tenants
from control_plane.registry.engine import transaction
from control_plane.routing.credentials import SignedClaim, ticket_signer
from control_plane.settings import Settings
from control_plane.tenants import service
from control_plane.tenants.service import TenantWish

TICKET_LIFE_S = 300
"""A person has to get from the terminal to a browser, or pass the link on. It is good for one use all the same."""


@dataclass(frozen=True, kw_only=True)
class Onboarding:
    """A tenant whose home is being made."""

    tenant_id: UUID
    slug: str
    workflow_id: str
    owner_id: UUID | None
    """The id that the owner will have in the home."""


def slug_for(name: str, slug: str | None) -> str:
    """The slug given, or one made from the name; SlugError or ReservedSlugError, naming it and the option."""
    if slug is not None:
        return checked_slug(slug)
    made = slug_of(name)
    try:
        return checked_slug(made)
    except ReservedSlugError as error:
        raise ReservedSlugError(f"the slug {made!r} is reserved for the platform: choose one with --slug") from error
    except SlugError as error:
        raise SlugError(f"no slug can be made from {name!r}: choose one with --slug. {SlugError.__doc__}") from error


def begin(platform: Platform, wish: TenantWish) -> Onboarding:
    """Enter the tenant and have its home made; the same wish again goes on with one that is not ready."""
    with transaction(platform.engine) as session:
        row = service.create(session, platform.workflows, wish, platform.actor)
        owner = tenants.pending_owner(session, row.id)
        assert row.workflow_id is not None
        return Onboarding(
            tenant_id=row.id, slug=row.slug, workflow_id=row.workflow_id, owner_id=owner.user_id if owner else None
        )


def tenant_url(settings: Settings, slug: str) -> str:
    """Where the tenant's app is opened."""
    return f"http://{slug}.{settings.base_domain}:{settings.http_port}"


def sign_in_link(platform: Platform, tenant: Onboarding) -> str | None:
    """Lets the owner in without a password, once, within TICKET_LIFE_S from now; None when there is no owner."""
    if tenant.owner_id is None:
        return None
    claim = SignedClaim(
        tenant_id=tenant.tenant_id,
        subject=tenant.owner_id,
        nonce=new_id(),
        expires=int(time.time()) + TICKET_LIFE_S,
    )
    ticket = ticket_signer(platform.keyring).sign(claim)
    return f"{tenant_url(platform.settings, tenant.slug)}/api/enter?ticket={ticket}"
