"""Signing up: a form becomes a tenant whose home is being made, once, however often the form is sent.

A newcomer who sends the same form again, because the answer was lost or the making failed, goes on with the same
tenant; the password proves that it is the same person. Passwords are hashed and checked between transactions, never
inside one: the claim on a slug is read first, the owner proven against it, and the claim looked at again at the end.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy.orm import Session

from control_plane import passwords
from control_plane.domain.placement import NoServerError
from control_plane.domain.tenant import Model, Plan, SlugError, Tenant, checked_slug, slug_of
from control_plane.registry import tenants
from control_plane.registry.workflows import Workflows
from control_plane.tenants import service
from control_plane.tenants.service import OtherOwnerError, OwnerWish, SlugTakenError, TenantWish

ACTOR = "signup"
PLAN, MODEL = Plan.STARTER, Model.POOL


class ClaimChangedError(SlugTakenError):
    """Somebody else took that slug in this moment."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """What a newcomer fills in; `slug` has been chosen or made from the company's name, and checked."""

    company: str
    slug: str
    email: str
    password: str = field(repr=False)
    name: str


@dataclass(frozen=True, kw_only=True)
class Claim:
    """Who holds a slug: the owner whose home is still to be seeded, or (both None) a tenant that needs nobody more."""

    email: str | None
    password_hash: str | None = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class SignedUp:
    """A tenant that is being made, and the id that its owner will have in its home."""

    tenant: Tenant
    owner_id: UUID


def chosen_slug(slug: str | None, company: str) -> str:
    """The slug to be claimed: as chosen, or made from the company's name; SlugError or ReservedSlugError."""
    if slug is not None:
        return checked_slug(slug)
    try:
        return checked_slug(slug_of(company))
    except SlugError as error:
        raise SlugError(f"no slug can be made from that name; send one. {SlugError.__doc__}") from error


def claim_on(session: Session, slug: str) -> Claim | None:
    """Who holds the slug; None when nobody does."""
    tenant = tenants.by_slug(session, slug)
    if tenant is None:
        return None
    owner = tenants.pending_owner(session, tenant.id)
    return Claim(email=owner.email if owner else None, password_hash=owner.password_hash if owner else None)


def proven_owner(form: Form, claim: Claim | None) -> OwnerWish:
    """The owner to sign up with: a new one, or the claim's if that is who sent the form; else SlugTakenError.

    Takes tens of milliseconds of CPU.
    """
    if claim is None:
        return OwnerWish(email=form.email, name=form.name, password_hash=passwords.hashed(form.password))
    # Checked against nothing when the address differs: the time it takes must not tell whose address it is.
    stored = claim.password_hash if claim.email == form.email else None
    if not passwords.matches(stored, form.password):
        raise SlugTakenError(f"the slug {form.slug!r} is taken", slug=form.slug)
    return OwnerWish(email=form.email, name=form.name, password_hash=stored)


def sign_up(session: Session, workflows: Workflows, form: Form, owner: OwnerWish) -> SignedUp:
    """Enter the tenant and start the making of its home when the caller commits, or go on with one being made.

    ClaimChangedError when the slug is held by anybody but `owner` by now: read the claim and try again. NoServerError
    without the reasons, which are not a visitor's business.
    """
    wish = TenantWish(slug=form.slug, name=form.company, plan=PLAN, model=MODEL, owner=owner)
    try:
        row = service.create(session, workflows, wish, ACTOR)
    except OtherOwnerError as error:
        raise ClaimChangedError(f"the slug {form.slug!r} is taken", slug=form.slug) from error
    except NoServerError as error:
        raise NoServerError("there is no room for new tenants right now; try again later") from error
    kept = tenants.pending_owner(session, row.id)
    if kept is None or (kept.email, kept.password_hash) != (owner.email, owner.password_hash):
        raise ClaimChangedError(f"the slug {form.slug!r} is taken", slug=form.slug)
    return SignedUp(tenant=tenants.as_tenant(row), owner_id=kept.user_id)
