"""What conversations take and show."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from control_plane.api.text import Line
from tenant_app.inputs import Input, Output


class NewConversation(Input):
    """A conversation to begin."""

    subject: Line


class ConversationChanges(Input):
    """What to change of a conversation; what is left out stays."""

    subject: Line | None = None


class ConversationOut(Output):
    """A conversation."""

    id: UUID
    subject: str
    created_by: UUID
    created_at: datetime
