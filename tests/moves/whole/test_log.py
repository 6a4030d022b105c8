"""The log of which home has answered what finds every way in which two could have answered for one tenant."""

from __future__ import annotations

import pytest

from tests.moves.whole.traffic import Answer, assert_one_home_at_a_time

OLD, NEW = "pool_1.public", "silo_1.public"


def _log(*visits: tuple[int, str]) -> list[Answer]:
    return [Answer(at=at, epoch=epoch, home=home) for at, (epoch, home) in enumerate(visits)]


def test_one_home_after_the_other_is_well_and_so_is_the_way_back() -> None:
    assert_one_home_at_a_time(_log((1, OLD), (1, OLD), (2, NEW), (3, OLD)))


@pytest.mark.parametrize(
    "log",
    [
        _log(),
        _log((1, OLD), (2, NEW), (1, OLD)),
        _log((1, OLD), (2, NEW), (2, OLD)),
        _log((2, OLD), (1, NEW)),
        _log((1, OLD), (2, OLD)),
    ],
    ids=["nobody", "the old one once more", "two of one epoch", "an epoch that falls", "an epoch without a switch"],
)
def test_anything_else_is_found(log: list[Answer]) -> None:
    with pytest.raises(AssertionError):
        assert_one_home_at_a_time(log)
