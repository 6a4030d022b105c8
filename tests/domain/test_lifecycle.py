"""The life of a tenant."""

from __future__ import annotations

import itertools

import pytest

from control_plane.domain.errors import Kind
from control_plane.domain.lifecycle import TRANSITIONS, TransitionError, set_status
from control_plane.domain.tenant import Status

ALLOWED = {
    ("provisioning", "active"),
    ("provisioning", "failed"),
    ("failed", "provisioning"),
    ("active", "suspended"),
    ("active", "moving"),
    ("active", "closing"),
    ("moving", "active"),
    ("suspended", "active"),
    ("suspended", "closing"),
    ("failed", "closing"),
    ("closing", "closed"),
    ("closing", "active"),
    ("closing", "suspended"),
    ("closing", "failed"),
}


@pytest.mark.parametrize(("current", "wanted"), [*itertools.product(Status, Status)])
def test_exactly_the_designed_transitions_are_allowed(current: Status, wanted: Status) -> None:
    if (current, wanted) in ALLOWED or current is wanted:
        assert set_status(current, wanted) is wanted
    else:
        with pytest.raises(TransitionError) as refusal:
            set_status(current, wanted)
        assert refusal.value.kind is Kind.CONFLICT
        assert str(current) in refusal.value.message
        assert str(wanted) in refusal.value.message


def test_every_status_has_its_place_in_the_table() -> None:
    assert set(TRANSITIONS) == set(Status)


def test_every_status_can_be_reached_and_only_closed_is_the_end() -> None:
    reached, edge = {Status.PROVISIONING}, [Status.PROVISIONING]
    while edge:
        new = TRANSITIONS[edge.pop()] - reached
        reached |= new
        edge += new
    assert reached == set(Status)
    assert [status for status in Status if not TRANSITIONS[status]] == [Status.CLOSED]
