"""Queries on sessions, and on users as far as signing in needs them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast
from uuid import UUID

from sqlalchemy import ColumnElement, CursorResult, and_, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from tenant_app.tables import User, UserSession


class SignedIn(NamedTuple):
    """The person of a live session."""

    id: UUID
    name: str
    role: str
    email: str | None


class Account(NamedTuple):
    """What a password is checked against."""

    id: UUID
    password_hash: str | None


async def signed_in(session: AsyncSession, session_id: UUID) -> SignedIn | None:
    """The person whose session that is, if it is live and they are not disabled."""
    query = (
        select(User.id, User.name, User.role, User.email)
        .join(UserSession, UserSession.user_id == User.id)
        .where(UserSession.id == session_id, User.disabled_at.is_(None), _live())
    )
    row = (await session.execute(query)).one_or_none()
    return SignedIn(*row) if row else None


async def account(session: AsyncSession, email: str) -> Account | None:
    """The account of that address (in its canonical spelling), unless it is disabled."""
    query = select(User.id, User.password_hash).where(
        User.email == email, User.kind == "person", User.disabled_at.is_(None)
    )
    row = (await session.execute(query)).one_or_none()
    return Account(*row) if row else None


async def enabled_person(session: AsyncSession, user_id: UUID) -> User | None:
    """That person, kept from being disabled until this transaction ends."""
    query = (
        select(User)
        .where(User.id == user_id, User.kind == "person", User.disabled_at.is_(None))
        .with_for_update(read=True)
    )
    return (await session.scalars(query)).one_or_none()


async def live_sessions(
    session: AsyncSession, user_id: UUID, *, limit: int, after: UUID | None
) -> Sequence[UserSession]:
    """A user's live sessions, newest first."""
    query = select(UserSession).where(UserSession.user_id == user_id, _live())
    if after is not None:
        query = query.where(UserSession.id < after)
    return (await session.scalars(query.order_by(UserSession.id.desc()).limit(limit))).all()


async def end(session: AsyncSession, *, user_id: UUID, session_id: UUID) -> bool:
    """End one session of that user; whether it was live."""
    return bool(await _end(session, UserSession.user_id == user_id, UserSession.id == session_id))


async def end_all(session: AsyncSession, user_id: UUID, *, but: UUID | None = None) -> None:
    """End every session of that user, or every one but one."""
    await _end(session, UserSession.user_id == user_id, UserSession.id.is_distinct_from(but))


async def _end(session: AsyncSession, *which: ColumnElement[bool]) -> int:
    statement = update(UserSession).where(*which, _live()).values(ended_at=func.now())
    ended = await session.execute(statement, execution_options={"synchronize_session": False})
    return cast("CursorResult[object]", ended).rowcount


def _live() -> ColumnElement[bool]:
    return and_(UserSession.ended_at.is_(None), UserSession.expires_at > func.now())
