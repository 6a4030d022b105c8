"""What a worker does again and again beside its workflows."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import structlog

from control_plane.registry.engine import ControlDatabaseError
from provisioning.rounds import going_round
from tests.waiting import until


@pytest.mark.parametrize(
    ("failure", "told"),
    [(ValueError("of no importance"), [("round_failed", "there", "ValueError")]), (ControlDatabaseError(), [])],
)
def test_a_round_that_fails_is_told_and_the_next_one_is_gone(
    failure: Exception, told: list[tuple[str, str, str]]
) -> None:
    rounds = 0

    def look(_stopping: threading.Event) -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 1:
            raise failure

    with structlog.testing.capture_logs() as logged:
        _until_gone(look, lambda: rounds > 1)
    assert [(each["event"], each["round"], each["error"]) for each in logged] == told


def test_at_its_end_who_looks_is_told_and_waited_for() -> None:
    begun, ended = threading.Event(), []

    def look(stopping: threading.Event) -> None:
        begun.set()
        ended.append(stopping.wait(60))

    _until_gone(look, begun.is_set)
    assert ended == [True]
    assert "there" not in {thread.name for thread in threading.enumerate()}


def _until_gone(look: Callable[[threading.Event], None], come: Callable[[], bool]) -> None:
    with going_round("there", 0.001, look):
        until(come, what="it has gone round")
