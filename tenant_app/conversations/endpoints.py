"""HTTP for conversations."""

from __future__ import annotations

from fastapi import APIRouter

from control_plane.routing.visitor import TheSession
from tenant_app.caller import ADMINS, MEMBERS, AsMember
from tenant_app.conversations import service
from tenant_app.conversations.schemas import ConversationChanges, ConversationOut, NewConversation
from tenant_app.failures import for_callers
from tenant_app.inputs import PathId
from tenant_app.pages import Page, ThePaging

router = APIRouter(prefix="/api/conversations", tags=["conversations"])


@router.get("", dependencies=[MEMBERS], responses=for_callers(422))
async def list_conversations(session: TheSession, paging: ThePaging) -> Page[ConversationOut]:
    """Conversations, newest first."""
    return await service.list_all(session, paging)


@router.post("", status_code=201, responses=for_callers(413, 422))
async def create_conversation(by: AsMember, session: TheSession, body: NewConversation) -> ConversationOut:
    """Begin a conversation."""
    return ConversationOut.model_validate(await service.begin(session, by, body))


@router.get("/{conversation_id}", dependencies=[MEMBERS], responses=for_callers())
async def get_conversation(session: TheSession, conversation_id: PathId) -> ConversationOut:
    """One conversation."""
    return ConversationOut.model_validate(await service.find(session, conversation_id))


@router.patch("/{conversation_id}", dependencies=[MEMBERS], responses=for_callers(413, 422))
async def change_conversation(
    session: TheSession, conversation_id: PathId, body: ConversationChanges
) -> ConversationOut:
    """Give a conversation another subject."""
    return ConversationOut.model_validate(await service.change(session, conversation_id, body))


@router.delete("/{conversation_id}", status_code=204, dependencies=[ADMINS], responses=for_callers())
async def delete_conversation(session: TheSession, conversation_id: PathId) -> None:
    """Delete a conversation and its messages, for good."""
    await service.delete(session, conversation_id)
