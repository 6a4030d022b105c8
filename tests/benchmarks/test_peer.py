"""How the fleet's benchmark compares us with its peer; the peer itself is never installed here."""

from __future__ import annotations

import pytest

from benchmarks.peer import LOCK, Side, compare


def test_the_start_of_a_command_is_paid_once_however_many_targets_there_are() -> None:
    few = Side(targets=100, start_s=1.0, apply_s=3.0, noop_s=1.5)
    assert (few.apply_s_per_1000, few.noop_s_per_1000) == (21.0, 6.0)
    many = Side(targets=2000, start_s=1.0, apply_s=3.0, noop_s=1.5)
    assert (many.apply_s_per_1000, many.noop_s_per_1000) == (2.0, 1.25)


def test_a_command_measured_faster_than_its_start_took_what_was_measured() -> None:
    assert Side(targets=10, start_s=1.0, apply_s=1.0, noop_s=0.9).noop_s_per_1000 == 0.9


@pytest.mark.parametrize("swapped", [False, True])
def test_the_ratios_are_of_the_executor_that_was_better_at_it(swapped: bool) -> None:
    ours = Side(targets=1000, start_s=0.0, apply_s=2.0, noop_s=0.5)
    sides = [
        Side(targets=1000, start_s=0.0, apply_s=80.0, noop_s=50.0),
        Side(targets=1000, start_s=0.0, apply_s=100.0, noop_s=20.0),
    ]
    first, second = reversed(sides) if swapped else sides
    result = compare(ours, {"standard": first, "multiprocessing": second})
    assert (result["peer_apply_ratio"], result["peer_noop_ratio"]) == (40.0, 40.0)
    assert result["peer_standard_apply_s_per_1000"] == (100.0 if swapped else 80.0)
    assert (result["apply_s_per_1000"], result["noop_s_per_1000"]) == (2.0, 0.5)


def test_everything_the_peer_needs_is_pinned_with_a_hash() -> None:
    requirements = LOCK.read_text().replace("\\\n", " ").strip().splitlines()
    assert any(each.startswith("django-tenants==") for each in requirements)
    assert [each for each in requirements if "==" not in each or "--hash=sha256:" not in each] == []
