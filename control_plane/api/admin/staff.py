"""HTTP for staff about themselves: signing in and out, and making more of them."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from uuid import UUID

from fastapi import APIRouter, Request, Response
from sqlalchemy.orm import Session

from control_plane import passwords
from control_plane.api.control import Control, TheControl
from control_plane.api.desk import AsAdmin, AsSupport, TheCredential, forget_cookie, set_cookie
from control_plane.api.errors import problems
from control_plane.api.inputs import AnyPassword, Input, Output
from control_plane.api.text import Address, Email, Password
from control_plane.registry import staff
from control_plane.routing.visitor import refuse_other_sites
from control_plane.staff import service
from control_plane.staff.roles import StaffRole
from control_plane.staff.service import Shown, StaffMember

TRIES_PER_CLIENT = 5
"""An office behind one address may try so many times as often as one account."""

router = APIRouter(prefix="/admin", tags=["staff"])


class StaffLogin(Input):
    """An account and its password."""

    email: Email
    password: AnyPassword


class NewStaff(Input):
    """Somebody who joins. Without a password they have the token alone."""

    email: Address
    role: StaffRole = StaffRole.SUPPORT
    password: Password | None = None


class StaffOut(Output):
    """A member of staff."""

    id: UUID
    email: str
    role: StaffRole


class ListedStaffOut(StaffOut):
    """A member of staff in a list."""

    created_at: datetime


class StaffList(Output):
    """Everybody."""

    items: list[ListedStaffOut]


class StaffWithToken(StaffOut):
    """A new member of staff, and their token, which is told this once."""

    token: str


@router.post("/login", responses=problems(401, 403, 413, 422, 429, 503))
async def staff_login(body: StaffLogin, request: Request, response: Response, control: TheControl) -> StaffOut:
    """Sign in with e-mail address and password; the answer sets the session's cookie."""
    refuse_other_sites(request)
    await _count_try(request, control, body.email)
    found = await control.run(service.account, body.email)
    proof = await control.hash(partial(service.proven, found, body.password))
    member, secret = await control.run(service.begin_session, proof)
    set_cookie(request, response, secret)
    return StaffOut.model_validate(member)


@router.post("/logout", status_code=204, responses=problems(401, 403, 503))
async def staff_logout(desk: AsSupport, shown: TheCredential, response: Response) -> None:
    """End the session that asks, and have its cookie forgotten. A token goes on."""
    if shown.kind is Shown.SESSION:
        await desk.run(service.end_session, shown.secret, actor=desk.actor)
    forget_cookie(response)


@router.get("/me", responses=problems(401, 503))
async def get_staff_me(desk: AsSupport) -> StaffOut:
    """Who is asking."""
    return StaffOut.model_validate(desk.staff)


@router.get("/staff", responses=problems(401, 403, 503))
async def list_staff(desk: AsAdmin) -> StaffList:
    """Everybody, by address."""
    return await desk.run(_listed)


@router.post("/staff", status_code=201, responses=problems(401, 403, 409, 413, 422, 503))
async def add_staff(body: NewStaff, desk: AsAdmin) -> StaffWithToken:
    """Make a member of staff with a bearer token."""
    password_hash = None
    if body.password is not None:
        password_hash = await desk.control.hash(partial(passwords.hashed, body.password))
    member, token = await desk.run(_added, body, password_hash, desk.actor)
    return StaffWithToken(id=member.id, email=member.email, role=member.role, token=token)


async def _count_try(request: Request, control: Control, email: str) -> None:
    per_minute = control.settings.limits.logins_per_minute
    client = request.client.host if request.client else ""
    await control.parts.throttle.check(f"staff/client/{client}", per_minute * TRIES_PER_CLIENT)
    await control.parts.throttle.check(f"staff/{email}", per_minute)


def _listed(session: Session) -> StaffList:
    return StaffList(items=[ListedStaffOut.model_validate(row) for row in staff.all_staff(session)])


def _added(session: Session, new: NewStaff, password_hash: str | None, actor: str) -> tuple[StaffMember, str]:
    member = service.add(session, email=new.email, role=new.role, actor=actor, password_hash=password_hash)
    return member, service.issue_token(session, member, actor=actor)
