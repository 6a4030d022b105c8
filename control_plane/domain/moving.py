"""The phases of a move: one table of what follows on what, and of where a crash in each leads. Pure.

What a phase promises holds whenever it is on record: it is recorded before the work that it names is begun.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from control_plane.domain.errors import ConflictError
from control_plane.domain.tenant import Status

UNDO_WINDOW_MAX = timedelta(days=7)
"""The source of what flows back keeps its log for as long as nobody brings it."""
MOVABLE = frozenset({Status.ACTIVE, Status.SUSPENDED})
"""Who is served is `moving` meanwhile; who is suspended stays so, from the one home into the other."""
MOVES_AT_ONCE_MAX = 20
"""Of one server: each has a slot or two, a stream and three connections."""


class Phase(enum.StrEnum):
    """How far a move is."""

    REQUESTED = "requested"
    PREPARING = "preparing"
    """The home to be is made."""
    COPYING = "copying"
    FOLLOWING = "following"
    """All is copied; what has changed since then is brought along."""
    FREEZING = "freezing"
    """The tenant is kept waiting, or about to be."""
    SWITCHED = "switched"
    """The route leads to the new home. Recorded in the very transaction that has it lead there."""
    KEPT = "kept"
    """The tenant is served by the new home, and the old one is kept; or the other way round, when it came back and the
    two were not the same.
    """
    RETURNING = "returning"
    """The tenant is about to be switched back."""
    RETURNED = "returned"
    """The route leads to the old home again."""
    CLEANING = "cleaning"
    """What the tenant had in the home that it left goes."""
    DONE = "done"
    CALLING_OFF = "calling_off"
    """What was made for the tenant in the home to be goes."""
    CALLED_OFF = "called_off"


class Recipe(enum.StrEnum):
    """How a tenant's rows come into its new home."""

    STREAM = "stream"
    """Copied while it works, and what changes meanwhile streamed: frozen for milliseconds."""
    FREEZE = "freeze"
    """Copied while it is frozen, because the server that it leaves can send no stream."""


class Way(enum.StrEnum):
    """Where whoever finds a move in a phase that nobody works on any more takes it."""

    BACK = "back"
    """To the home that the tenant had at the phase's beginning, and to no other."""
    FORWARD = "forward"
    """On: the tenant is served by the home that the route leads to."""
    NOWHERE = "nowhere"
    """It has ended."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What is true of a phase."""

    after_crash: Way
    then: frozenset[Phase]
    """What may follow. A phase may always be entered again."""
    moving: bool = False
    """Whether the tenant is on its way: nothing else is done to it, and no run over the fleet begins."""
    can_cancel: bool = False


_FORTH = frozenset({Phase.COPYING, Phase.CALLING_OFF})

RULES: Mapping[Phase, Rules] = {
    Phase.REQUESTED: Rules(
        after_crash=Way.BACK, then=frozenset({Phase.PREPARING, Phase.CALLING_OFF}), moving=True, can_cancel=True
    ),
    Phase.PREPARING: Rules(after_crash=Way.BACK, then=_FORTH, moving=True, can_cancel=True),
    Phase.COPYING: Rules(
        # A copy under freeze is followed by nobody.
        after_crash=Way.BACK,
        then=_FORTH | {Phase.FOLLOWING, Phase.FREEZING},
        moving=True,
        can_cancel=True,
    ),
    Phase.FOLLOWING: Rules(after_crash=Way.BACK, then=_FORTH | {Phase.FREEZING}, moving=True, can_cancel=True),
    Phase.FREEZING: Rules(
        after_crash=Way.BACK, then=_FORTH | {Phase.FOLLOWING, Phase.SWITCHED}, moving=True, can_cancel=True
    ),
    Phase.SWITCHED: Rules(after_crash=Way.FORWARD, then=frozenset({Phase.KEPT}), moving=True),
    Phase.KEPT: Rules(after_crash=Way.FORWARD, then=frozenset({Phase.RETURNING, Phase.CLEANING})),
    Phase.RETURNING: Rules(after_crash=Way.BACK, then=frozenset({Phase.KEPT, Phase.RETURNED}), moving=True),
    Phase.RETURNED: Rules(after_crash=Way.FORWARD, then=frozenset({Phase.CLEANING, Phase.KEPT}), moving=True),
    Phase.CLEANING: Rules(after_crash=Way.FORWARD, then=frozenset({Phase.DONE})),
    Phase.CALLING_OFF: Rules(after_crash=Way.BACK, then=frozenset({Phase.CALLED_OFF}), moving=True),
    Phase.DONE: Rules(after_crash=Way.NOWHERE, then=frozenset()),
    Phase.CALLED_OFF: Rules(after_crash=Way.NOWHERE, then=frozenset()),
}

ENDED = frozenset(phase for phase, rules in RULES.items() if rules.after_crash is Way.NOWHERE)
MOVING = frozenset(phase for phase, rules in RULES.items() if rules.moving)
"""In these the tenant is on its way."""
GOING = frozenset({Phase.PREPARING, Phase.COPYING, Phase.FOLLOWING, Phase.FREEZING})
"""In these a home to be has been chosen, and the tenant does not live in it yet."""
BEFORE_THE_SWITCH = frozenset({Phase.FREEZING, Phase.RETURNING})
"""In these the route is about to lead to another home. The roll's feed tells of them: migrations/control."""
PASSED = frozenset({Phase.SWITCHED, Phase.KEPT, Phase.RETURNING, Phase.RETURNED, Phase.CLEANING, Phase.DONE})
"""In these the point of no return lies behind the move."""


class PhaseError(ConflictError):
    """The move is not in a phase in which this can be done."""

    code = "move_phase"


def enter(current: Phase, wanted: Phase) -> Phase:
    """`wanted`, when the table allows it after `current` (staying is always allowed); else PhaseError."""
    if wanted is not current and wanted not in RULES[current].then:
        raise PhaseError(f"a move that is {_words(current)} cannot be {_words(wanted)}", current=current, wanted=wanted)
    return wanted


def _words(phase: Phase) -> str:
    return phase.replace("_", " ")
