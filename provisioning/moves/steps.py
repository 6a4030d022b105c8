"""The steps of moves, by workflow: each is handed a move's id. What runs them, in order and durably, is `workflows`."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from provisioning.moves import forecast, going, preparing, tidying

if TYPE_CHECKING:
    from provisioning.steps import Tools


def check_move(tools: Tools, move_id: UUID) -> None:
    """Refuse a move that could not come to a good end, saying why, before anything is made for it."""
    preparing.check(tools.estate, move_id)


def prepare_target(tools: Tools, move_id: UUID) -> None:
    """Choose and make the home to be, shut, and try it through the pooler."""
    preparing.prepare(tools.estate, tools.inside, tools.workflows, move_id)


def carry_over(tools: Tools, move_id: UUID) -> None:
    """Copy, follow, freeze, switch: one step, for the stream ends with whoever does it. It begins anew, or is done."""
    going.carry_over(tools.estate, tools.inside, move_id)


def arrive(tools: Tools, move_id: UUID) -> None:
    """Have the fences say what the route says; the old home is kept for as long as somebody may want it back."""
    going.arrive(tools.estate, move_id)


def carry_back(tools: Tools, move_id: UUID) -> None:
    """Bring the rest of what has changed into the old home, and switch back."""
    going.carry_back(tools.estate, tools.inside, move_id)


def arrive_back(tools: Tools, move_id: UUID) -> None:
    """Have the fences say what the route says; what is left in the home that was come from goes next."""
    going.arrive_back(tools.estate, move_id)


def tidy_move(tools: Tools, move_id: UUID) -> None:
    """Take a move that nobody works on to where its phase leads."""
    tidying.tidy(tools.estate, move_id)


def foretell(tools: Tools, dry_run_id: UUID) -> None:
    """Find out what a move would do and take, and record it."""
    forecast.answer(tools.estate, dry_run_id)


THERE = (check_move, prepare_target, carry_over, arrive)
BACK = (carry_back, arrive_back)
TIDY = (tidy_move,)
FORETELL = (foretell,)


def fail(tools: Tools, move_id: UUID, reason: str) -> None:
    """Take a move whose work has failed to where its phase leads: before the switch back, after it forward."""
    tidying.after_failure(tools.estate, move_id, reason)
