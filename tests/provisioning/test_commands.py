"""A command that is told is one that can be typed."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from provisioning.commands import as_typed

REBALANCE = "copyhold server rebalance"


@pytest.mark.parametrize("folder", ["/srv/copyhold", "/srv/our data", "/srv/its $HOME; `x` 'and' \"more\""])
def test_a_folder_is_one_word_to_the_shell_whatever_its_name_is(folder: str) -> None:
    assert shlex.split(as_typed(REBALANCE, Path(folder))) == [*REBALANCE.split(), "--data", folder]


def test_no_folder_is_told_where_none_was_given_and_a_plain_name_is_left_as_it_is() -> None:
    assert as_typed(REBALANCE, None) == REBALANCE
    assert as_typed(REBALANCE, Path("/srv/copyhold")) == f"{REBALANCE} --data /srv/copyhold"
