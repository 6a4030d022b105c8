"""What plans mean for how tenants are housed."""

from __future__ import annotations

import pytest

from control_plane.domain.plans import DEFAULT, due, misplaced
from control_plane.domain.tenant import Model, Plan


@pytest.mark.parametrize(
    ("plan", "model", "down", "wanted"),
    [
        (Plan.ENTERPRISE, Model.POOL, False, Model.SILO),
        (Plan.ENTERPRISE, Model.BRIDGE, False, Model.SILO),
        (Plan.ENTERPRISE, Model.SILO, True, None),
        (Plan.STARTER, Model.SILO, False, None),
        (Plan.STARTER, Model.SILO, True, Model.POOL),
        (Plan.PROFESSIONAL, Model.POOL, True, None),
    ],
)
def test_a_plan_gives_more_by_itself_and_takes_away_only_when_told(
    plan: Plan, model: Model, down: bool, wanted: Model | None
) -> None:
    assert due(DEFAULT, plan, model, down=down) is wanted


def test_nothing_is_said_about_a_plan_that_is_not_named() -> None:
    assert due({}, Plan.ENTERPRISE, Model.POOL, down=True) is None


def test_who_has_less_than_its_plan_promises_is_told_of_with_the_command_that_mends_it() -> None:
    said = misplaced(DEFAULT, "globex", Plan.ENTERPRISE, Model.POOL)
    assert said == "enterprise means a silo, and it lives in a pool: copyhold tenant move globex --to silo"
    assert misplaced(DEFAULT, "globex", Plan.STARTER, Model.SILO) is None
