"""Who is calling: a person by session, or a key as its service user; and what role an operation asks for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Literal
from uuid import UUID

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.domain.errors import ForbiddenError, UnauthenticatedError
from control_plane.domain.route import ApiKey, Role
from control_plane.routing.credentials import SessionRefusedError
from control_plane.routing.visitor import SAFE_METHODS, TheSession, Visitor, visitor_of
from tenant_app.recording import relies_on, remember_once_committed
from tenant_app.rows import insert_once
from tenant_app.sessions import repository
from tenant_app.tables import User


class RoleError(ForbiddenError):
    """Your role does not allow this."""

    code = "role_too_low"


class ScopeError(ForbiddenError):
    """This API key's scopes do not allow this."""

    code = "scope_missing"


class PersonsOnlyError(ForbiddenError):
    """Only a person who has signed in can do this, not an API key."""

    code = "persons_only"


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Whoever a request acts for. `session_id` and `email` are a person's; a key has neither."""

    user_id: UUID
    name: str
    role: Role
    email: str | None = None
    session_id: UUID | None = None

    @property
    def kind(self) -> Literal["person", "service"]:
        """Of which kind the caller's user is."""
        return "service" if self.session_id is None else "person"

    async def recorded(self, session: AsyncSession) -> UUID:
        """The id of the caller's users row. A key's is made when it first writes something that names it.

        What refers to it is sent by `rows.flush`, which hears when it is not there.
        """
        if self.session_id is None and not relies_on(session, self.user_id):
            values = {"name": self.name, "role": self.role, "kind": self.kind}
            await insert_once(session, User, id=self.user_id, **values)
            remember_once_committed(session, self.user_id)
        return self.user_id


async def credential(request: Request) -> Visitor:
    """The visitor, who shows something with the scope for this; refused before a home is touched."""
    who = visitor_of(request)
    if who.key is not None:
        _check_scopes(who.key, request.method)
    elif who.session is None:
        raise UnauthenticatedError
    return who


async def caller(who: Visitor, session: AsyncSession) -> Caller:
    """Whoever the visitor is. A session is read with its user in one query; ended, expired or disabled is refused."""
    if who.key is not None:
        return Caller(user_id=who.key.id, name=who.key.name, role=who.key.role)
    assert who.session is not None
    row = await repository.signed_in(session, who.session.subject)
    if row is None:
        raise SessionRefusedError
    return Caller(user_id=row.id, name=row.name, role=Role(row.role), email=row.email, session_id=who.session.subject)


def _at_least(role: Role) -> Callable[[Visitor, AsyncSession], Awaitable[Caller]]:
    async def of_role(who: Annotated[Visitor, Depends(credential)], session: TheSession) -> Caller:
        by = await caller(who, session)
        if not by.role.allows(role):
            raise RoleError
        return by

    return of_role


member, admin, owner = _at_least(Role.MEMBER), _at_least(Role.ADMIN), _at_least(Role.OWNER)

MEMBERS, ADMINS = Depends(member), Depends(admin)
"""For the operations that only have to know that the caller may."""
AsMember = Annotated[Caller, Depends(member)]
AsAdmin = Annotated[Caller, Depends(admin)]
AsOwner = Annotated[Caller, Depends(owner)]


def _check_scopes(key: ApiKey, method: str) -> None:
    wanted = "read" if method in SAFE_METHODS else "write"
    if key.scopes and wanted not in key.scopes:
        raise ScopeError
