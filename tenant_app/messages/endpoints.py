"""HTTP for messages."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from control_plane.routing.visitor import TheSession
from tenant_app.caller import MEMBERS, AsMember
from tenant_app.failures import for_callers
from tenant_app.inputs import PathId
from tenant_app.messages import service
from tenant_app.messages.schemas import MessageChanges, MessageOut, NewMessage, Order
from tenant_app.pages import Page, ThePaging

router = APIRouter(prefix="/api/conversations/{conversation_id}/messages", tags=["messages"])


@router.get("", dependencies=[MEMBERS], responses=for_callers(422))
async def list_messages(
    session: TheSession,
    conversation_id: PathId,
    paging: ThePaging,
    order: Annotated[Order, Query(description="From which end to read.")] = Order.OLDEST,
) -> Page[MessageOut]:
    """What was said in a conversation."""
    return await service.list_in(session, conversation_id, order, paging)


@router.post("", status_code=201, responses=for_callers(413, 422))
async def create_message(by: AsMember, session: TheSession, conversation_id: PathId, body: NewMessage) -> MessageOut:
    """Say something."""
    return MessageOut.model_validate(await service.post(session, by, conversation_id, body))


@router.get("/{message_id}", dependencies=[MEMBERS], responses=for_callers())
async def get_message(session: TheSession, conversation_id: PathId, message_id: PathId) -> MessageOut:
    """One message."""
    return MessageOut.model_validate(await service.find(session, conversation_id, message_id))


@router.patch("/{message_id}", responses=for_callers(413, 422))
async def change_message(
    by: AsMember, session: TheSession, conversation_id: PathId, message_id: PathId, body: MessageChanges
) -> MessageOut:
    """Say it differently; only its author may."""
    return MessageOut.model_validate(await service.change(session, by, conversation_id, message_id, body))


@router.delete("/{message_id}", status_code=204, responses=for_callers())
async def delete_message(by: AsMember, session: TheSession, conversation_id: PathId, message_id: PathId) -> None:
    """Take a message back, for good; its author may, and admins."""
    await service.delete(session, by, conversation_id, message_id)
