"""A workflow that waits is gone on with by later runs of the engine, all of them under one record."""

from __future__ import annotations

from itertools import pairwise
from uuid import uuid4

from control_plane.registry.workflows import (
    ADD_SERVER,
    begins_at,
    continued,
    kind_of,
    new_workflow_id,
    record_of,
)


def test_each_run_is_another_one_of_the_same_record() -> None:
    first = new_workflow_id(ADD_SERVER, uuid4())
    runs = [first]
    for _ in range(12):
        runs.append(continued(runs[-1], 1))
    runs.append(continued(runs[-1], 3))
    assert len(set(runs)) == len(runs)
    assert {record_of(each) for each in runs} == {first}
    assert {kind_of(each) for each in runs} == {ADD_SERVER}
    assert [begins_at(each) for each in runs] == [0, *[1] * 12, 3]


def test_who_goes_on_again_after_a_crash_names_the_same_run() -> None:
    first = continued(new_workflow_id(ADD_SERVER, uuid4()), 1)
    assert [len({a, b}) for a, b in pairwise([continued(first, 1) for _ in range(3)])] == [1, 1]
