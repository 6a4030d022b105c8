"""The phases of a move: whatever happens in any of them, the tenant ends in one of its two homes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from control_plane.domain.moving import ENDED, MOVING, PASSED, RULES, Phase, PhaseError, Way, enter


def reachable(start: Phase) -> Iterator[Phase]:
    """All that may come after it, itself included."""
    seen, left = {start}, [start]
    while left:
        phase = left.pop()
        yield phase
        new = RULES[phase].then - seen
        seen |= new
        left += sorted(new)


def test_every_phase_has_its_rules() -> None:
    assert set(RULES) == set(Phase)


def test_every_move_can_end() -> None:
    for phase in Phase:
        assert ENDED & set(reachable(phase)), phase


def test_nothing_comes_after_an_end() -> None:
    assert {phase for phase in Phase if not RULES[phase].then} == ENDED


def test_after_the_switch_nobody_calls_a_move_off() -> None:
    for phase in PASSED:
        assert not {Phase.CALLING_OFF, Phase.CALLED_OFF} & set(reachable(phase)), phase
        assert not RULES[phase].can_cancel


def test_before_the_switch_a_crash_leads_back_and_the_way_back_is_open() -> None:
    for phase in set(Phase) - PASSED - ENDED:
        assert RULES[phase].after_crash is Way.BACK
        assert phase is Phase.CALLING_OFF or Phase.CALLING_OFF in RULES[phase].then


def test_the_switch_is_come_to_from_a_frozen_tenant_alone() -> None:
    assert {phase for phase in Phase if Phase.SWITCHED in RULES[phase].then} == {Phase.FREEZING}
    assert {phase for phase in Phase if Phase.RETURNED in RULES[phase].then} == {Phase.RETURNING}


def test_only_who_is_on_the_way_can_cancel() -> None:
    assert {phase for phase in Phase if RULES[phase].can_cancel} <= MOVING - PASSED


@pytest.mark.parametrize("phase", Phase)
def test_a_phase_may_be_entered_again(phase: Phase) -> None:
    assert enter(phase, phase) is phase


def test_what_the_table_does_not_have_is_refused_in_words() -> None:
    with pytest.raises(PhaseError, match="a move that is kept cannot be called off"):
        enter(Phase.KEPT, Phase.CALLED_OFF)
