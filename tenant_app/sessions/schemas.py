"""What signing in takes and shows."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from control_plane.api.text import Email
from tenant_app.inputs import AnyPassword, Input, Output


class Login(Input):
    """An account and its password."""

    email: Email
    password: AnyPassword


class SessionOut(Output):
    """One place where a person is signed in."""

    id: UUID
    created_at: datetime
    expires_at: datetime
    current: bool
    """Whether it is the one that asked."""
