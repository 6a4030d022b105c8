"""Staff: making them, and telling by a token or a session who is asking.

Each function works inside the caller's transaction and leaves committing to it. Secrets have 256 random bits; only
their SHA-256 is kept.
"""

from __future__ import annotations

import enum
import re
import secrets
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from control_plane import audit, passwords
from control_plane.domain.errors import ConflictError, ForbiddenError, NotFoundError, UnauthenticatedError
from control_plane.emails import checked_email
from control_plane.registry import staff
from control_plane.registry.tables import StaffRow
from control_plane.routing.credentials import secret_hash
from control_plane.staff.roles import StaffRole

TOKEN_LIFE = timedelta(days=365)
SESSION_LIFE = timedelta(hours=12)
_RANDOM = r"[A-Za-z0-9_-]{43}"


class StaffExistsError(ConflictError):
    """There is a member of staff of that e-mail address."""

    code = "staff_exists"


class UnknownStaffError(NotFoundError):
    """There is no member of staff of that e-mail address."""

    code = "staff_unknown"


class StaffRefusedError(UnauthenticatedError):
    """That staff token or session is not valid (any more)."""

    code = "staff_refused"


class StaffLoginError(UnauthenticatedError):
    """That e-mail address and password do not belong together here."""

    code = "login_refused"


class StaffRoleError(ForbiddenError):
    """Your role does not allow this."""

    code = "role_too_low"


class Shown(enum.StrEnum):
    """How a member of staff says who they are."""

    TOKEN = "token"  # noqa: S105 - a kind, not a secret
    SESSION = "session"


_FORM = {Shown.TOKEN: re.compile("chs_" + _RANDOM), Shown.SESSION: re.compile(_RANDOM)}


@dataclass(frozen=True, kw_only=True)
class StaffMember:
    """One of us."""

    id: UUID
    email: str
    role: StaffRole


@dataclass(frozen=True, kw_only=True)
class Account:
    """Whose password is to be checked."""

    staff_id: UUID
    password_hash: str | None = field(repr=False)


def add(session: Session, *, email: str, role: StaffRole, actor: str, password_hash: str | None = None) -> StaffMember:
    """Make a member of staff; without a password they have tokens only. StaffExistsError when there is one."""
    row = staff.add(session, email=checked_email(email), role=str(role), password_hash=password_hash)
    if row is None:
        raise StaffExistsError(f"there is a member of staff with the address {email!r}")
    audit.record(session, actor, "staff.add", row.email, role=row.role)
    return _member(row)


def remove(session: Session, *, email: str, actor: str) -> None:
    """Strike a member of staff: their tokens and sessions end with this. UnknownStaffError when there is nobody."""
    address = email.strip().lower()
    if not staff.remove(session, address):
        raise UnknownStaffError(f"there is no member of staff with the address {email!r}")
    audit.record(session, actor, "staff.remove", address)


def issue_token(session: Session, member: StaffMember, *, actor: str, life: timedelta = TOKEN_LIFE) -> str:
    """A new bearer token of that member, told this once and never kept."""
    text = f"chs_{secrets.token_urlsafe(32)}"
    staff.add_token(session, member.id, Shown.TOKEN, secret_hash(text), life)
    audit.record(session, actor, "staff.token", member.email, days=life.days)
    return text


def recognised(kind: Shown, secret: str) -> str:
    """`secret` if it can be one of that kind at all, else StaffRefusedError: no database is asked about nonsense."""
    if not _FORM[kind].fullmatch(secret):
        raise StaffRefusedError
    return secret


def authenticate(session: Session, kind: Shown, secret: str, wanted: StaffRole = StaffRole.SUPPORT) -> StaffMember:
    """Who shows this. StaffRefusedError for what is unknown, ended or past its time, StaffRoleError below `wanted`."""
    row = staff.of_token(session, secret_hash(recognised(kind, secret)), kind)
    if row is None:
        raise StaffRefusedError
    member = _member(row)
    if not member.role.allows(wanted):
        raise StaffRoleError(f"this takes the role {wanted}; yours is {member.role}")
    return member


def account(session: Session, email: str) -> Account | None:
    """The account of that address."""
    row = staff.by_email(session, email)
    return None if row is None else Account(staff_id=row.id, password_hash=row.password_hash)


def proven(found: Account | None, password: str) -> Account:
    """`found` if that is its password, else StaffLoginError. Takes tens of milliseconds, whatever was found."""
    if not passwords.matches(found.password_hash if found else None, password) or found is None:
        raise StaffLoginError
    return found


def begin_session(session: Session, proof: Account) -> tuple[StaffMember, str]:
    """A new session of an account whose password has been proven, and its secret, told this once.

    StaffLoginError when the account has changed since.
    """
    row = staff.get(session, proof.staff_id)
    if row is None or row.password_hash != proof.password_hash:
        raise StaffLoginError
    secret = secrets.token_urlsafe(32)
    staff.drop_expired(session, row.id)
    staff.add_token(session, row.id, Shown.SESSION, secret_hash(secret), SESSION_LIFE)
    audit.record(session, row.email, "staff.login", row.email)
    return _member(row), secret


def end_session(session: Session, secret: str, *, actor: str) -> None:
    """End a session; one that has ended stays so."""
    staff.drop_token(session, secret_hash(secret))
    audit.record(session, actor, "staff.logout", actor)


def _member(row: StaffRow) -> StaffMember:
    return StaffMember(id=row.id, email=row.email, role=StaffRole(row.role))
