"""Queries on conversations."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from tenant_app.tables import Conversation, Message


async def listed(session: AsyncSession, *, limit: int, after: UUID | None) -> Sequence[Conversation]:
    """Conversations, newest first."""
    query = select(Conversation)
    if after is not None:
        query = query.where(Conversation.id < after)
    return (await session.scalars(query.order_by(Conversation.id.desc()).limit(limit))).all()


async def found(session: AsyncSession, conversation_id: UUID) -> Conversation | None:
    """That conversation."""
    return (await session.scalars(select(Conversation).where(Conversation.id == conversation_id))).one_or_none()


async def locked(session: AsyncSession, conversation_id: UUID, *, to_delete: bool = False) -> Conversation | None:
    """That conversation, for this transaction alone to change; if it is to be deleted, new messages wait as well."""
    query = select(Conversation).where(Conversation.id == conversation_id).with_for_update(key_share=not to_delete)
    return (await session.scalars(query)).one_or_none()


async def delete_with_messages(session: AsyncSession, conversation_id: UUID) -> None:
    """Delete that conversation and all that was said in it."""
    unsynchronized = {"synchronize_session": False}
    await session.execute(
        delete(Message).where(Message.conversation_id == conversation_id), execution_options=unsynchronized
    )
    await session.execute(
        delete(Conversation).where(Conversation.id == conversation_id), execution_options=unsynchronized
    )
