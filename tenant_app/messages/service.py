"""Saying things, and taking them back."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.domain.errors import ForbiddenError, NotFoundError
from control_plane.domain.ids import new_id
from control_plane.domain.route import Role
from tenant_app.caller import Caller
from tenant_app.messages import repository
from tenant_app.messages.schemas import MessageChanges, MessageOut, NewMessage, Order
from tenant_app.pages import Page, Paging
from tenant_app.rows import flush
from tenant_app.tables import Message


class NotYoursError(ForbiddenError):
    """Somebody else said that."""

    code = "not_yours"


async def list_in(session: AsyncSession, conversation_id: UUID, order: Order, paging: Paging) -> Page[MessageOut]:
    """A conversation's messages. One query: only an empty answer makes it ask whether the conversation exists."""
    of = f"messages/{conversation_id}/{order}"
    after = paging.start(of)
    rows = await repository.listed(session, conversation_id, order, limit=paging.limit + 1, after=after)
    if not rows and not await repository.conversation_exists(session, conversation_id):
        raise NotFoundError
    return paging.page(rows, of, MessageOut.model_validate)


async def post(session: AsyncSession, by: Caller, conversation_id: UUID, new: NewMessage) -> Message:
    """Say something. NotFoundError when there is no such conversation: the reference to it tells, no query does."""
    author_id = await by.recorded(session)
    message = Message(id=new_id(), conversation_id=conversation_id, author_id=author_id, body=new.body)
    session.add(message)
    await flush(session, {"messages_tenant_id_conversation_id_fkey": NotFoundError})
    return message


async def find(session: AsyncSession, conversation_id: UUID, message_id: UUID) -> Message:
    """That message of that conversation, or NotFoundError."""
    return _there(await repository.found(session, conversation_id, message_id))


async def change(
    session: AsyncSession, by: Caller, conversation_id: UUID, message_id: UUID, wanted: MessageChanges
) -> Message:
    """Say it differently; only its author may."""
    message = _there(await repository.locked(session, conversation_id, message_id))
    if message.author_id != by.user_id:
        raise NotYoursError
    message.body = wanted.body
    await session.flush()
    return message


async def delete(session: AsyncSession, by: Caller, conversation_id: UUID, message_id: UUID) -> None:
    """Take it back, for good; its author may, and admins."""
    message = _there(await repository.locked(session, conversation_id, message_id))
    if message.author_id != by.user_id and not by.role.allows(Role.ADMIN):
        raise NotYoursError
    await session.delete(message)
    await session.flush()


def _there(message: Message | None) -> Message:
    if message is None:
        raise NotFoundError
    return message
