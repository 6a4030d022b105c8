"""Queries on messages."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from tenant_app.messages.schemas import Order
from tenant_app.tables import Conversation, Message


async def listed(
    session: AsyncSession, conversation_id: UUID, order: Order, *, limit: int, after: UUID | None
) -> Sequence[Message]:
    """Messages of one conversation, from either end."""
    query = select(Message).where(Message.conversation_id == conversation_id)
    newest = order is Order.NEWEST
    if after is not None:
        query = query.where(Message.id < after if newest else Message.id > after)
    return (await session.scalars(query.order_by(Message.id.desc() if newest else Message.id).limit(limit))).all()


async def conversation_exists(session: AsyncSession, conversation_id: UUID) -> bool:
    """Whether there is such a conversation."""
    query = select(Conversation.id).where(Conversation.id == conversation_id)
    return (await session.scalars(query)).one_or_none() is not None


async def found(session: AsyncSession, conversation_id: UUID, message_id: UUID) -> Message | None:
    """That message of that conversation."""
    return (await session.scalars(_one(conversation_id, message_id))).one_or_none()


async def locked(session: AsyncSession, conversation_id: UUID, message_id: UUID) -> Message | None:
    """That message of that conversation, for this transaction alone to change."""
    return (await session.scalars(_one(conversation_id, message_id).with_for_update())).one_or_none()


def _one(conversation_id: UUID, message_id: UUID) -> Select[Message]:
    return select(Message).where(Message.conversation_id == conversation_id, Message.id == message_id)
