"""Who may make, change and disable whom; nobody rules those above them, and a tenant always keeps an owner."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.domain.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError
from control_plane.domain.ids import new_id
from control_plane.domain.route import Role
from tenant_app.caller import Caller, PersonsOnlyError
from tenant_app.pages import Page, Paging
from tenant_app.passwords import Passwords
from tenant_app.rows import flush
from tenant_app.sessions import repository as sessions
from tenant_app.tables import User, now_utc
from tenant_app.users import repository
from tenant_app.users.schemas import MyChanges, NewUser, UserChanges, UserOut

LIST = "users"
PASSWORDS_SET_FACTOR = 5
"""Setting others' passwords guesses nothing, but it is work that sign-ins queue behind."""


class EmailTakenError(ConflictError):
    """There is a user with that e-mail address already."""

    code = "email_taken"


class LastOwnerError(ConflictError):
    """This is the only owner; make somebody else an owner first."""

    code = "last_owner"


class ServiceUserError(ConflictError):
    """A service user is what its API key makes of it; change or revoke the key."""

    code = "service_user"


class AboveYouError(ForbiddenError):
    """That role is above yours."""

    code = "role_above_yours"


class WrongPasswordError(ForbiddenError):
    """The current password is not that."""

    code = "password_wrong"


class NothingToProveError(InvalidError):
    """current_password is only of use together with a new password."""

    code = "password_missing"


async def list_all(session: AsyncSession, paging: Paging) -> Page[UserOut]:
    """Users, oldest first."""
    rows = await repository.listed(session, limit=paging.limit + 1, after=paging.start(LIST))
    return paging.page(rows, LIST, UserOut.model_validate)


async def find(session: AsyncSession, user_id: UUID) -> User:
    """That user, or NotFoundError."""
    user = await repository.found(session, user_id)
    if user is None:
        raise NotFoundError
    return user


async def create(session: AsyncSession, by: Caller, new: NewUser, passwords: Passwords) -> User:
    """A new person. AboveYouError for a role above the caller's, EmailTakenError for an address in use."""
    _refuse_above(by, new.role)
    user = User(id=new_id(), email=new.email, name=new.name, role=new.role, kind="person")
    if new.password is not None:
        await passwords.count_try(f"set/{by.user_id}", times=PASSWORDS_SET_FACTOR)
        user.password_hash = await passwords.hash(new.password)
    session.add(user)
    await flush(session, {"users_tenant_id_email_key": EmailTakenError})
    return user


async def change(session: AsyncSession, by: Caller, user_id: UUID, wanted: UserChanges) -> User:
    """Change a person as far as the caller may; disabling ends their sessions. LastOwnerError keeps the last owner."""
    owners = await repository.lock_owners(session)
    user = await repository.locked(session, user_id)
    if user is None:
        raise NotFoundError
    if user.kind == "service":
        raise ServiceUserError
    _refuse_above(by, Role(user.role))
    if wanted.role is not None:
        _refuse_above(by, wanted.role)
    if owners == {user.id} and (wanted.disabled or wanted.role not in (None, Role.OWNER)):
        raise LastOwnerError
    user.name = wanted.name or user.name
    user.role = wanted.role or user.role
    if wanted.disabled is not None:
        await _set_disabled(session, user, wanted.disabled)
    await session.flush()
    return user


async def disable(session: AsyncSession, by: Caller, user_id: UUID) -> None:
    """Keep a person out, from now on and wherever they are signed in. Their rows stay: others refer to them."""
    await change(session, by, user_id, UserChanges(disabled=True))


async def change_self(session: AsyncSession, by: Caller, wanted: MyChanges, passwords: Passwords) -> User:
    """Change the caller's own name or password. A new password ends every other session of theirs."""
    if by.session_id is None:
        raise PersonsOnlyError
    user = await repository.locked(session, by.user_id)
    if user is None:
        raise NotFoundError
    user.name = wanted.name or user.name
    if wanted.password is not None:
        await _check_current(user, wanted.current_password, passwords)
        user.password_hash = await passwords.hash(wanted.password)
        await sessions.end_all(session, user.id, but=by.session_id)
    elif wanted.current_password is not None:
        raise NothingToProveError
    await session.flush()
    return user


async def _check_current(user: User, shown: str | None, passwords: Passwords) -> None:
    await passwords.count_try(str(user.id))
    if user.password_hash is not None and not (shown and await passwords.matches(shown, user.password_hash)):
        raise WrongPasswordError


async def _set_disabled(session: AsyncSession, user: User, disabled: bool) -> None:
    if not disabled:
        user.disabled_at = None
    elif user.disabled_at is None:
        user.disabled_at = now_utc()
        await sessions.end_all(session, user.id)


def _refuse_above(by: Caller, role: Role) -> None:
    if not by.role.allows(role):
        raise AboveYouError
