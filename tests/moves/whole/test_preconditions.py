"""What keeps a move from beginning is told in words, all at once, with what to do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from provisioning.moves.preconditions import Facts
from provisioning.moves.recipes import plan
from tests.moves.facts import NO_ROWS, NO_SLOT, REPLICA, TERMS, WELL


def objections(facts: Facts) -> list[str]:
    return list(plan(facts, TERMS).objections)


def test_nothing_speaks_against_a_home_that_is_well() -> None:
    assert objections(WELL) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"version": 140009}, "alpha is PostgreSQL 14: moves need 15"),
        ({"obstacles": (REPLICA,)}, "on alpha wal_level is replica"),
        ({"obstacles": (NO_SLOT,)}, "on alpha no replication slot is free"),
        ({"obstacles": (NO_ROWS,)}, "on alpha copyhold_mover does not see all rows"),
        ({"target_obstacles": (REPLICA,)}, "nothing could flow back from beta: wal_level is replica"),
        ({"revisions": ("h0001", "0002")}, "its home is at h0001 and 0002, new ones are built at h0002 and 0002"),
        ({"revisions": ("h0002", None)}, "its home is at h0002 and none known"),
        ({"unmovable": "notes: the app does not know it"}, "notes: the app does not know it"),
        ({"unindexed": ("notes_user_id_fkey",)}, "the reference notes_user_id_fkey has no index"),
        ({"oldest_writer": "process 7 of app", "oldest_writer_s": 61.0}, "goes on for too long: process 7 of app"),
    ],
)
def test_each_objection_is_told(changed: dict[str, Any], said: str) -> None:
    (objection,) = objections(replace(WELL, **changed))
    assert said in objection


def test_a_transaction_that_is_young_is_waited_for() -> None:
    assert objections(replace(WELL, oldest_writer="process 7", oldest_writer_s=59.0)) == []


def test_all_of_them_are_told_at_once() -> None:
    assert len(objections(replace(WELL, version=140000, obstacles=(NO_SLOT, NO_ROWS), unindexed=("c", "d")))) == 5
