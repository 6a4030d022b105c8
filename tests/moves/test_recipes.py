"""By which recipe a tenant is moved, and what it costs, is told before: from the facts of both servers alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from control_plane.domain.moving import Recipe
from provisioning.moves.copying import Size
from provisioning.moves.obstacles import Kind, Obstacle
from provisioning.moves.preconditions import Facts
from provisioning.moves.recipes import Plan, plan, stall_s
from tests.moves.facts import NO_ROWS, NO_SLOT, REPLICA, TERMS, WELL

ALLOWED = replace(TERMS, allow_freeze=True)
MUTE = replace(WELL, obstacles=(REPLICA,))
"""Its server sends no streams."""


def test_where_both_can_stream_a_freeze_that_is_allowed_changes_nothing() -> None:
    told = plan(WELL, ALLOWED)
    assert told == replace(plan(WELL, TERMS), note="--allow-freeze changes nothing: alpha can send a stream")
    assert (told.recipe, told.window_s, told.stall_s, told.objections) == (Recipe.STREAM, 3600, None, ())


def test_without_leave_it_is_refused_and_told_for_how_long_the_tenant_would_stall() -> None:
    told = plan(MUTE, TERMS)
    assert told.recipe is Recipe.FREEZE
    (said,) = told.objections
    assert said == (
        "on alpha wal_level is replica: set it to logical. Or --allow-freeze: copied under freeze, the tenant would"
        f" stall for about {told.stall_s:g} s: 100000 rows, 30000000 bytes"
    )


def test_for_one_that_is_suspended_nobody_has_to_give_leave() -> None:
    assert plan(MUTE, replace(TERMS, nobody_waits=True)) == plan(MUTE, ALLOWED)
    assert plan(WELL, replace(TERMS, nobody_waits=True)) == plan(WELL, TERMS)


def test_with_leave_it_is_copied_under_freeze_and_the_way_back_is_kept() -> None:
    assert plan(MUTE, ALLOWED) == Plan(
        recipe=Recipe.FREEZE,
        window_s=3600,
        stall_s=stall_s(Size(rows=100_000, bytes=30_000_000)),
        note=None,
        objections=(),
    )


@pytest.mark.parametrize("obstacle", [NO_SLOT, Obstacle("copyhold_mover may not make publications: GRANT", Kind.NOW)])
def test_what_somebody_has_only_to_wait_for_or_to_grant_freezes_nobody(obstacle: Obstacle) -> None:
    told = plan(replace(WELL, obstacles=(obstacle,)), ALLOWED)
    assert (told.recipe, told.objections) == (Recipe.STREAM, (f"on alpha {obstacle.words}",))
    # Where no stream is to be had anyway, it is in nobody's way.
    assert plan(replace(WELL, obstacles=(REPLICA, obstacle)), ALLOWED).objections == ()


def test_where_the_new_home_cannot_stream_either_there_is_no_way_back_and_it_says_so() -> None:
    told = plan(replace(MUTE, target_obstacles=(REPLICA,)), ALLOWED)
    assert (told.window_s, told.objections) == (0, ())
    assert told.note == "no way back, and the old home goes at once: on beta wal_level is replica: set it to logical"
    nobody_asked = plan(replace(MUTE, target_obstacles=(REPLICA,)), replace(ALLOWED, window_s=0))
    assert (nobody_asked.window_s, nobody_asked.note, nobody_asked.objections) == (0, None, ())


@pytest.mark.parametrize("facts", [WELL, MUTE], ids=["stream", "freeze"])
def test_a_way_back_that_cannot_begin_now_is_waited_for_or_done_without(facts: Facts) -> None:
    without_slot = replace(facts, target_obstacles=(NO_SLOT,))
    (said,) = plan(without_slot, ALLOWED).objections
    assert said == "nothing could flow back from beta: no replication slot is free. Or --undo-window 0s: no way back"
    assert plan(without_slot, replace(ALLOWED, window_s=0)).objections == ()


@pytest.mark.parametrize("window_s", [0, 3600])
@pytest.mark.parametrize("facts", [WELL, MUTE], ids=["stream", "freeze"])
def test_rows_that_cannot_be_written_are_not_copied_whatever_is_asked_for(facts: Facts, window_s: int) -> None:
    told = plan(replace(facts, target_obstacles=(NO_ROWS,)), replace(ALLOWED, window_s=window_s))
    assert told.objections == ("on beta copyhold_mover does not see all rows",)


def test_a_long_transaction_on_the_new_homes_server_is_in_the_way_of_the_way_back_alone() -> None:
    busy = replace(WELL, target_writer="process 7 of app", target_writer_s=61.0)
    (said,) = plan(busy, TERMS).objections
    assert said.startswith("a transaction on beta goes on for too long: process 7 of app; end it, or wait.")
    assert plan(busy, replace(TERMS, window_s=0)).objections == ()
    assert plan(replace(busy, target_writer_s=59.0), TERMS).objections == ()


def test_a_stall_that_is_longer_than_the_settings_allow_is_refused_whoever_allows_it() -> None:
    large = replace(MUTE, size=Size(rows=20_000_000, bytes=6_000_000_000))
    (said,) = plan(large, ALLOWED).objections
    assert said.endswith("at most 120 s are allowed (COPYHOLD_LIMITS__FROZEN_COPY_S)")
    assert "20000000 rows, 6000000000 bytes" in said
    assert plan(large, replace(ALLOWED, bound_s=1000.0)).objections == ()


def test_rows_that_cannot_be_read_cannot_be_copied_under_freeze_either() -> None:
    told = plan(replace(MUTE, obstacles=(REPLICA, NO_ROWS), size=None), ALLOWED)
    assert (told.stall_s, told.objections) == (None, ("on alpha copyhold_mover does not see all rows",))


def test_who_copies_under_freeze_waits_for_no_strangers_transaction() -> None:
    busy = replace(WELL, oldest_writer="process 7 of app", oldest_writer_s=61.0)
    assert "goes on for too long" in plan(busy, TERMS).objections[0]
    assert plan(replace(busy, obstacles=(REPLICA,)), ALLOWED).objections == ()


def test_more_rows_and_more_bytes_take_longer() -> None:
    small, wide, long = (stall_s(Size(rows=r, bytes=b)) for r, b in [(10, 10), (10, 10**9), (10**6, 10)])
    assert small < wide
    assert small < long
