"""What a member of staff may do."""

from __future__ import annotations

import enum

from control_plane.domain.errors import InvalidError


class StaffRole(enum.StrEnum):
    """Each role may do all that the ones before it may."""

    SUPPORT = "support"
    """Reads everything about tenants, servers and the fleet."""
    OPS = "ops"
    """Changes tenants, servers and keys."""
    ADMIN = "admin"
    """Makes staff."""

    def allows(self, wanted: StaffRole) -> bool:
        """Whether this role is at least `wanted`."""
        order = list(StaffRole)
        return order.index(self) >= order.index(wanted)


class UnknownStaffRoleError(InvalidError):
    """There is no such role; choose support, ops or admin."""

    code = "role_unknown"


def parse_staff_role(text: str) -> StaffRole:
    """The role of that name, or UnknownStaffRoleError."""
    try:
        return StaffRole(text)
    except ValueError as error:
        raise UnknownStaffRoleError(role=text) from error
