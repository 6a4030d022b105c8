"""A tenant's first data: its owner, and a conversation that shows what the inbox is for."""

from __future__ import annotations

import hashlib
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.domain.route import Role
from control_plane.routing.seam import NewTenant, Owner
from tenant_app.rows import insert_once
from tenant_app.tables import Conversation, Message, User

_RANDOM_BITS = (1 << 74) - 1
WELCOME = """\
This is {tenant}'s inbox. Every conversation is about one subject, and everybody on your team can read it and answer.

Invite the others under Users, or let your own programs write here with an API key."""


def derived_id(base: UUID, label: str) -> UUID:
    """The id that `label` has for `base`, the same each time: a UUIDv7 as old as `base`, as lists need it."""
    digest = int.from_bytes(hashlib.sha256(base.bytes + label.encode()).digest()) & _RANDOM_BITS
    random_a, random_b = digest >> 62, digest & (1 << 62) - 1
    return UUID(int=base.int >> 80 << 80 | 0x7 << 76 | random_a << 64 | 0x2 << 62 | random_b)


async def seed(session: AsyncSession, tenant: NewTenant, owner: Owner | None) -> None:
    """Write what is missing of it. Without an owner there is nothing to write: the tenant is for programs so far."""
    if owner is None:
        return
    await insert_once(
        session,
        User,
        id=owner.user_id,
        email=owner.email.strip().lower(),
        name=owner.name,
        role=Role.OWNER,
        kind="person",
        password_hash=owner.password_hash,
    )
    conversation_id = derived_id(owner.user_id, "conversation/welcome")
    await insert_once(session, Conversation, id=conversation_id, subject="Welcome", created_by=owner.user_id)
    await insert_once(
        session,
        Message,
        id=derived_id(owner.user_id, "message/welcome"),
        conversation_id=conversation_id,
        author_id=owner.user_id,
        body=WELCOME.format(tenant=tenant.name),
    )
