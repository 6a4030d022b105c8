"""The life of a tenant: one table of allowed transitions and one function that applies it."""

from __future__ import annotations

from collections.abc import Mapping

from control_plane.domain.errors import ConflictError
from control_plane.domain.tenant import Status

TRANSITIONS: Mapping[Status, frozenset[Status]] = {
    Status.PROVISIONING: frozenset({Status.ACTIVE, Status.FAILED}),
    Status.FAILED: frozenset({Status.PROVISIONING, Status.CLOSING}),
    Status.ACTIVE: frozenset({Status.SUSPENDED, Status.MOVING, Status.CLOSING}),
    Status.MOVING: frozenset({Status.ACTIVE}),
    Status.SUSPENDED: frozenset({Status.ACTIVE, Status.CLOSING}),
    Status.CLOSING: frozenset({Status.CLOSED, Status.ACTIVE, Status.SUSPENDED, Status.FAILED}),
    Status.CLOSED: frozenset(),
}


class TransitionError(ConflictError):
    """The tenant is not in a state from which this can be done."""

    code = "transition_not_allowed"


def set_status(current: Status, wanted: Status) -> Status:
    """`wanted`, when the table allows it from `current` (staying is always allowed); else TransitionError."""
    if current is Status.MOVING and wanted not in TRANSITIONS[current] | {current}:
        raise TransitionError(
            f"a tenant that is moving cannot become {wanted}: wait until it has arrived, or cancel the move",
            current=current,
            wanted=wanted,
        )
    if wanted is not current and wanted not in TRANSITIONS[current]:
        raise TransitionError(f"a tenant that is {current} cannot become {wanted}", current=current, wanted=wanted)
    return wanted
