"""Beginning, naming and ending conversations."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.domain.errors import NotFoundError
from control_plane.domain.ids import new_id
from tenant_app.caller import Caller
from tenant_app.conversations import repository
from tenant_app.conversations.schemas import ConversationChanges, ConversationOut, NewConversation
from tenant_app.pages import Page, Paging
from tenant_app.rows import flush
from tenant_app.tables import Conversation

LIST = "conversations"


async def list_all(session: AsyncSession, paging: Paging) -> Page[ConversationOut]:
    """Conversations, newest first."""
    rows = await repository.listed(session, limit=paging.limit + 1, after=paging.start(LIST))
    return paging.page(rows, LIST, ConversationOut.model_validate)


async def begin(session: AsyncSession, by: Caller, new: NewConversation) -> Conversation:
    """A new conversation."""
    conversation = Conversation(id=new_id(), subject=new.subject, created_by=await by.recorded(session))
    session.add(conversation)
    await flush(session)
    return conversation


async def find(session: AsyncSession, conversation_id: UUID) -> Conversation:
    """That conversation, or NotFoundError."""
    return _there(await repository.found(session, conversation_id))


async def change(session: AsyncSession, conversation_id: UUID, wanted: ConversationChanges) -> Conversation:
    """Give a conversation another subject."""
    conversation = _there(await repository.locked(session, conversation_id))
    conversation.subject = wanted.subject or conversation.subject
    await session.flush()
    return conversation


async def delete(session: AsyncSession, conversation_id: UUID) -> None:
    """Delete a conversation with its messages, for good."""
    _there(await repository.locked(session, conversation_id, to_delete=True))
    await repository.delete_with_messages(session, conversation_id)


def _there(conversation: Conversation | None) -> Conversation:
    if conversation is None:
        raise NotFoundError
    return conversation
