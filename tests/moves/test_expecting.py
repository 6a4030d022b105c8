"""What is told of a move beforehand follows from what earlier ones took, and from what is documented without them."""

from __future__ import annotations

import pytest

from control_plane.registry.move_figures import Earlier
from provisioning.moves.copying import Size
from provisioning.moves.expecting import AROUND_IT_S, ENOUGH, STALL_LARGE_MS, STALL_MS, expected


def earlier(rows: int, seconds: float, *, bytes_a_row: int = 100, stall_ms: float = 20.0) -> Earlier:
    return Earlier(rows=rows, bytes=rows * bytes_a_row, seconds=seconds, stall_ms=stall_ms)


def size(rows: int, bytes_a_row: int = 100) -> Size:
    return Size(rows=rows, bytes=rows * bytes_a_row)


@pytest.mark.parametrize(
    ("rows", "share", "seconds", "stall_ms"),
    [
        (0, 1.0, 2.0, STALL_MS),
        (160_000, 1.0, 4.0, STALL_MS),
        (160_000, 0.25, 10.0, STALL_MS),
        (800_000, 1.0, 12.0, STALL_LARGE_MS),
    ],
)
def test_without_earlier_moves_it_is_what_was_measured_elsewhere(
    rows: int, share: float, seconds: float, stall_ms: int
) -> None:
    told = expected(size(rows), [], share)
    assert (told.seconds, told.stall_ms, told.from_moves) == (seconds, stall_ms, 0)


def test_too_few_tell_nothing() -> None:
    assert expected(size(160_000), [earlier(100, 60.0)] * 2, 1.0).seconds == 4.0


def test_small_ones_tell_what_is_around_the_copy() -> None:
    told = expected(size(160_000), [earlier(100, each) for each in (5.0, 6.0, 90.0)], 1.0)
    assert (told.seconds, told.from_moves) == (8.0, 3)


def test_large_ones_tell_how_fast_rows_are_copied() -> None:
    moves = [earlier(100_000, AROUND_IT_S + each) for each in (9.0, 10.0, 60.0)]
    assert expected(size(200_000), moves, 1.0).seconds == AROUND_IT_S + 20.0


def test_wide_rows_take_longer_than_as_many_narrow_ones() -> None:
    moves = [earlier(100_000, AROUND_IT_S + 10.0)] * ENOUGH
    assert expected(size(50_000, bytes_a_row=1000), moves, 1.0).seconds == AROUND_IT_S + 50.0
    assert expected(size(50_000, bytes_a_row=1), moves, 1.0).seconds == AROUND_IT_S + 5.0


def test_nine_of_ten_waited_no_longer_than_is_told() -> None:
    stalls = [float(each) for each in range(100, 1200, 100)]
    told = expected(size(10), [earlier(10, 2.0, stall_ms=each) for each in reversed(stalls)], 1.0)
    assert told.stall_ms == 1000


def test_how_long_large_tenants_wait_says_nothing_of_small_ones() -> None:
    moves = [earlier(1_000_000, 12.0, stall_ms=900.0)] * ENOUGH
    assert expected(size(10), moves, 1.0).stall_ms == STALL_MS
    assert expected(size(600_000), moves, 1.0).stall_ms == 900


def test_a_move_is_counted_once_however_much_it_tells() -> None:
    assert expected(size(10), [earlier(10, 2.0), earlier(11, 2.0), earlier(12, 2.0)], 1.0).from_moves == 3
