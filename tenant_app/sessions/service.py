"""Signing in: a password or a ticket becomes a session row and a signed cookie that names it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.domain.errors import NotFoundError, UnauthenticatedError
from control_plane.domain.ids import new_id
from control_plane.routing.credentials import SignedClaim, TicketRefusedError
from tenant_app.caller import Caller
from tenant_app.door import Door
from tenant_app.pages import Page, Paging
from tenant_app.rows import flush
from tenant_app.sessions import repository
from tenant_app.sessions.schemas import SessionOut
from tenant_app.tables import User, UserSession


class LoginRefusedError(UnauthenticatedError):
    """That e-mail address and password do not belong together here."""

    code = "login_refused"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A session that has just begun: whose, and what the cookie must say for how many seconds."""

    user: User
    cookie: str
    life_s: int


async def sign_in(door: Door, email: str, password: str) -> Entry:
    """Begin a session. LoginRefusedError says and costs the same for an unknown address as for a wrong password.

    No transaction is open while the password is checked: sign-ins queue for that, and would hold connections.
    """
    await door.count_try(email)
    async with door.enter() as session:
        account = await repository.account(session, email)
    genuine = await door.passwords.matches(password, account.password_hash if account else None)
    if account is None or not genuine:
        raise LoginRefusedError
    async with door.enter() as session:
        user = await repository.enabled_person(session, account.id)
        if user is None or user.password_hash != account.password_hash:
            raise LoginRefusedError
        return await _begin(door, session, user)


async def redeem(door: Door, ticket: str) -> Entry:
    """Begin a session for a ticket's user. TicketRefusedError when it is another tenant's, late, or was used before."""
    claim = door.road.tickets.read(ticket)
    if claim.tenant_id != door.route.tenant_id:
        raise TicketRefusedError
    async with door.enter() as session:
        user = await repository.enabled_person(session, claim.subject)
        if user is None:
            raise TicketRefusedError
        return await _begin(door, session, user, claim.nonce)


async def sign_out(session: AsyncSession, by: Caller) -> None:
    """End the session that asked; a key has none, and nothing happens."""
    if by.session_id is not None:
        await repository.end(session, user_id=by.user_id, session_id=by.session_id)


async def list_own(session: AsyncSession, by: Caller, paging: Paging) -> Page[SessionOut]:
    """The caller's live sessions, newest first."""
    of = f"sessions/{by.user_id}"
    rows = await repository.live_sessions(session, by.user_id, limit=paging.limit + 1, after=paging.start(of))
    return paging.page(rows, of, lambda row: _shown(row, by))


async def end_own(session: AsyncSession, by: Caller, session_id: UUID) -> None:
    """End a session of the caller; NotFoundError when it is not theirs or has ended."""
    if not await repository.end(session, user_id=by.user_id, session_id=session_id):
        raise NotFoundError


async def _begin(door: Door, session: AsyncSession, user: User, ticket_nonce: UUID | None = None) -> Entry:
    life_s = door.road.settings.limits.session_life_s
    expires = int(time.time()) + life_s
    row = UserSession(
        id=new_id(), user_id=user.id, ticket_nonce=ticket_nonce, expires_at=datetime.fromtimestamp(expires, UTC)
    )
    session.add(row)
    await flush(session, {"sessions_tenant_id_ticket_nonce_key": TicketRefusedError})
    claim = SignedClaim(tenant_id=door.route.tenant_id, subject=row.id, nonce=new_id(), expires=expires)
    return Entry(user=user, cookie=door.road.sessions.sign(claim), life_s=life_s)


def _shown(row: UserSession, by: Caller) -> SessionOut:
    return SessionOut(id=row.id, created_at=row.created_at, expires_at=row.expires_at, current=row.id == by.session_id)
