"""What messages take and show."""

from __future__ import annotations

import enum
from datetime import datetime
from uuid import UUID

from control_plane.api.text import Body
from tenant_app.inputs import Input, Output


class Order(enum.StrEnum):
    """From which end a conversation is read."""

    OLDEST = "oldest"
    NEWEST = "newest"


class NewMessage(Input):
    """Something to say."""

    body: Body


class MessageChanges(Input):
    """What should have been said."""

    body: Body


class MessageOut(Output):
    """Something said."""

    id: UUID
    conversation_id: UUID
    author_id: UUID
    body: str
    created_at: datetime
