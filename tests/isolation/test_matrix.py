"""Another tenant, nobody, a lower role: for every operation and every id, in every pair of models, over the port."""

from __future__ import annotations

import pytest

from tests.isolation.cases import every_case
from tests.isolation.conftest import Proof
from tests.isolation.operations import OPERATIONS

QUICK = ("pool", "pool")
SLOW = [
    ("pool", "bridge"),
    ("bridge", "pool"),
    ("bridge", "bridge"),
    ("pool", "silo"),
    ("silo", "pool"),
    ("silo", "silo"),
]
PAIRS = [QUICK, *(pytest.param(*pair, marks=pytest.mark.slow) for pair in SLOW)]


@pytest.mark.parametrize(("mine", "theirs"), PAIRS)
def test_nobody_reaches_what_is_not_theirs_and_the_owner_does(proof: Proof, mine: str, theirs: str) -> None:
    matrix = proof.matrix(mine, theirs)
    with proof.port() as port:
        outcome = matrix.run(port)
    assert outcome.wrong == []
    assert outcome.done == every_case({name: OPERATIONS[name] for name in proof.served})
