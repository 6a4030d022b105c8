"""HTTP for signing up: the form, and the link that tells a newcomer who had to wait how far it is."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from control_plane.api.control import Control, TheControl
from control_plane.api.errors import problems
from control_plane.api.inputs import Input
from control_plane.api.schemas import TenantOut
from control_plane.api.text import Address, Line, Password
from control_plane.domain.errors import UnavailableError
from control_plane.domain.route import Route
from control_plane.domain.tenant import SLUG_LENGTH_MAX, Status
from control_plane.routing.road import refuse_unless_served
from control_plane.routing.snapshot import RollSnapshot
from control_plane.signup import service
from control_plane.signup.service import ClaimChangedError, Form, SignedUp

TRIES = 3
"""How often the claim on a slug is read again when somebody else was quicker."""

router = APIRouter(tags=["signup"])


class SignupFailedError(UnavailableError):
    """Your workspace could not be set up this time; send the same form again to go on."""

    code = "signup_failed"
    retry_after_s = 5


class SignupForm(Input):
    """What a newcomer fills in."""

    company: Line
    slug: Annotated[
        str | None, Field(max_length=SLUG_LENGTH_MAX, description="Names the host; made from the company without it.")
    ] = None
    email: Address
    password: Password
    name: Line | None = None
    """The person's; made from the e-mail address without it."""


class Welcomed(BaseModel):
    """A tenant that is ready, and the way in."""

    tenant: TenantOut
    url: str
    """The tenant's app."""
    ticket: str = Field(description="Lets the owner in once, within seconds; part of `enter_url`.")
    enter_url: str


class Waiting(BaseModel):
    """A tenant that is still being made."""

    tenant: TenantOut
    url: str
    """Where the tenant's app will be."""
    status_url: str = Field(description="Tells how far it is; once it is ready, yields a ticket. Keep it to yourself.")


_LATER = {"model": Waiting, "description": "Still being made; ask at `status_url` (also in Location)."}


@router.post(
    "/signup",
    status_code=201,
    response_model=Welcomed,
    responses={202: _LATER, **problems(403, 409, 413, 422, 429, 503)},
)
async def sign_up(form: SignupForm, request: Request, control: TheControl) -> Response | Welcomed:
    """Make a tenant and its owner. The same form sent again goes on with a tenant that is not ready yet."""
    await _count(request, control)
    slug = service.chosen_slug(form.slug, form.company)
    name = form.name or form.email.partition("@")[0]
    done = await _signed_up(
        control, Form(company=form.company, slug=slug, email=form.email, password=form.password, name=name)
    )
    route = await _made(control, done.tenant.id)
    if route is None:
        return _still_waiting(request, control, TenantOut.model_validate(done.tenant), done.owner_id)
    return _welcomed(request, control, route, done.owner_id)


@router.get(
    "/signup/{token}",
    response_model=Welcomed,
    responses={202: _LATER, **problems(403, 404, 503)},
)
async def get_signup(
    token: Annotated[str, Path(max_length=400)], request: Request, control: TheControl
) -> Response | Welcomed:
    """How far a newcomer's tenant is. The database is not asked."""
    claim = control.welcome.read_status(token)
    route = control.parts.roll.snapshot.by_id.get(claim.tenant_id)
    if route is None:
        raise UnavailableError
    if route.status is Status.PROVISIONING:
        return _still_waiting(request, control, TenantOut.of_route(route), claim.subject)
    return _welcomed(request, control, route, claim.subject)


async def _count(request: Request, control: Control) -> None:
    """One client's share is half of all: nobody can keep everybody else from signing up."""
    per_minute = control.settings.limits.signups_per_minute
    client = request.client.host if request.client else ""
    await control.parts.throttle.check(f"signup/client/{client}", max(1, per_minute // 2))
    await control.parts.throttle.check("signup", per_minute)


async def _signed_up(control: Control, form: Form) -> SignedUp:
    for _ in range(TRIES - 1):
        with contextlib.suppress(ClaimChangedError):
            return await _try(control, form)
    return await _try(control, form)


async def _try(control: Control, form: Form) -> SignedUp:
    claim = await control.run(service.claim_on, form.slug)
    owner = await control.hash(partial(service.proven_owner, form, claim))
    return await control.run(service.sign_up, control.workflows, form, owner)


async def _made(control: Control, tenant_id: UUID) -> Route | None:
    """The tenant's route once its making has ended, well or badly; None when that takes longer than a person waits.

    The roll is refreshed first: in an older one, a tenant that is being made again would still look failed.
    """
    if not await control.refresh_roll():
        return None

    def ended(roll: RollSnapshot) -> Route | None:
        route = roll.by_id.get(tenant_id)
        return route if route is not None and route.status is not Status.PROVISIONING else None

    return await control.watch.until(ended, control.settings.limits.signup_wait_s)


def _welcomed(request: Request, control: Control, route: Route, owner_id: UUID) -> Welcomed:
    if route.status is Status.FAILED:
        raise SignupFailedError
    refuse_unless_served(route)
    url = _tenant_url(request, control, route.slug)
    ticket = control.welcome.ticket(route.tenant_id, owner_id)
    return Welcomed(
        tenant=TenantOut.of_route(route), url=url, ticket=ticket, enter_url=f"{url}/api/enter?ticket={ticket}"
    )


def _still_waiting(request: Request, control: Control, tenant: TenantOut, owner_id: UUID) -> Response:
    token = control.welcome.status_token(tenant.id, owner_id)
    status_url = str(request.url.replace(path=f"/signup/{token}", query="", fragment=""))
    waiting = Waiting(tenant=tenant, url=_tenant_url(request, control, tenant.slug), status_url=status_url)
    headers = {"Location": status_url, "Retry-After": "1"}
    return JSONResponse(waiting.model_dump(mode="json"), status_code=202, headers=headers)


def _tenant_url(request: Request, control: Control, slug: str) -> str:
    """At the port that the newcomer came in by, which may be a proxy's."""
    port = f":{request.url.port}" if request.url.port else ""
    return f"{request.url.scheme}://{slug}.{control.settings.base_domain}{port}"
