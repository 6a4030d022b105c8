"""Queries on users."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.domain.route import Role
from tenant_app.tables import User


async def listed(session: AsyncSession, *, limit: int, after: UUID | None) -> Sequence[User]:
    """Users, oldest first."""
    query = select(User)
    if after is not None:
        query = query.where(User.id > after)
    return (await session.scalars(query.order_by(User.id).limit(limit))).all()


async def found(session: AsyncSession, user_id: UUID) -> User | None:
    """That user."""
    return (await session.scalars(select(User).where(User.id == user_id))).one_or_none()


async def locked(session: AsyncSession, user_id: UUID) -> User | None:
    """That user, for this transaction alone to change; others may go on referring to them."""
    query = select(User).where(User.id == user_id).with_for_update(key_share=True)
    return (await session.scalars(query)).one_or_none()


async def lock_owners(session: AsyncSession) -> set[UUID]:
    """Who may act as owner now; they stay as they are until this transaction changes them or ends."""
    query = (
        select(User.id)
        .where(User.role == Role.OWNER, User.kind == "person", User.disabled_at.is_(None))
        .order_by(User.id)
        .with_for_update(key_share=True)
    )
    return set((await session.scalars(query)).all())
