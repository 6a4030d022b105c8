"""What users take and show."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from control_plane.api.text import Address, Line, Password
from control_plane.domain.route import Role
from tenant_app.inputs import AnyPassword, Input, Output

UserKind = Literal["person", "service"]


class NewUser(Input):
    """A person to be; without a password they cannot sign in by one."""

    email: Address
    name: Line
    role: Role = Role.MEMBER
    password: Password | None = None


class UserChanges(Input):
    """What to change of a user; what is left out stays."""

    name: Line | None = None
    role: Role | None = None
    disabled: bool | None = None
    """Whether they are kept from signing in."""


class MyChanges(Input):
    """What to change of oneself; what is left out stays."""

    name: Line | None = None
    password: Password | None = None
    current_password: AnyPassword | None = None
    """Needed to change a password that there is."""


class UserOut(Output):
    """A user as other users of the tenant see them."""

    id: UUID
    email: str | None
    name: str
    role: Role
    kind: UserKind
    disabled_at: datetime | None
    created_at: datetime


class Me(Output):
    """Whoever asks."""

    id: UUID
    email: str | None
    name: str
    role: Role
    kind: UserKind
