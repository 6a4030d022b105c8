"""PostgreSQL and the pooler are restarted, in order and without a word, at random points of a mix of workflows."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from sqlalchemy import func, select

from control_plane.domain.tenant import Model, Status
from control_plane.registry import workflow_records
from control_plane.registry.engine import transaction
from control_plane.registry.tables import ProgressRow
from control_plane.registry.workflow_records import DONE, FAILED
from control_plane.registry.workflows import PROVISION
from provisioning.steps import SEQUENCES
from tests.doctor.patient import Patient
from tests.parts import FAST, IMMEDIATE, POOLER, restart
from tests.platform_under_test import PlatformUnderTest, running_platform
from tests.provisioning.lives import LIVES, Life, newcomer, state_of
from tests.repair.mending import assert_well
from tests.waiting import until

pytestmark = pytest.mark.slow

PARTS = ("control", "alpha", "beta", POOLER)
HOWS = (FAST, IMMEDIATE)
MAKINGS = 3
"""Of each model."""
RETRIES = 3
DEADLINE_S = 120.0
"""A worker that has lost the control database is started again by the supervisor."""


@pytest.fixture(scope="module")
def mixed() -> Iterator[PlatformUnderTest]:
    """A platform for this alone."""
    with running_platform() as platform:
        yield platform


def a_mix(platform: PlatformUnderTest) -> list[Life]:
    """All kinds of workflows, ready to be wished."""
    lives = [life(platform, model) for life in LIVES.values() for model in life.models]
    lives += [LIVES[PROVISION](platform, model) for model in Model for _ in range(MAKINGS - 1)]
    for life in lives:
        if life.of_a_tenant:
            platform.wait_for(life.tenant.id, Status.ACTIVE)
    for life in lives:
        life.prepare()
    return lives


def steps_done(platform: PlatformUnderTest, lives: list[Life]) -> int:
    """How many of their steps are on record."""
    of_them = ProgressRow.workflow_id.in_([life.workflow_id for life in lives])
    with transaction(platform.engine) as session:
        return session.scalars(select(func.count()).select_from(ProgressRow).where(of_them)).one()


def ended(platform: PlatformUnderTest, lives: list[Life]) -> bool:
    """Whether nobody works on any of them any more."""
    return all(state_of(platform, life.workflow_id)[0] not in workflow_records.UNENDED for life in lives)


def wait_for_steps(platform: PlatformUnderTest, lives: list[Life], number: int) -> None:
    """Until so many are on record, or there are no more to come."""
    until(
        lambda: steps_done(platform, lives) >= number or ended(platform, lives),
        what=f"{number} steps are done",
        deadline_s=DEADLINE_S,
    )


def gone_on_with(platform: PlatformUnderTest, life: Life) -> None:
    """What failed says why, and is done when it is asked for again."""
    state, why = state_of(platform, life.workflow_id)
    if state == FAILED:
        assert why
        assert "\n" not in why
        life.again()


@pytest.mark.parametrize("seed", [1, 2])
def test_all_is_done_in_the_end_or_has_failed_and_is_done_when_asked_again(mixed: PlatformUnderTest, seed: int) -> None:
    chance = random.Random(seed)
    undisturbed = {model: newcomer(mixed, model) for model in Model}
    lives = a_mix(mixed)
    chance.shuffle(lives)
    restarts = [(part, how) for part in PARTS for how in HOWS]
    chance.shuffle(restarts)
    disturbed = []
    for number, (part, how) in enumerate(restarts):
        some = lives[number :: len(restarts)]
        for life in some:
            life.begin()
        at = chance.randrange(sum(len(SEQUENCES[life.kind]) for life in some))
        wait_for_steps(mixed, some, at)
        disturbed.append(not ended(mixed, some))
        restart(mixed, part, how)
    assert any(disturbed), "nothing was going on whenever something was restarted"
    for _ in range(RETRIES):
        until(lambda: ended(mixed, lives), what="all have ended", deadline_s=DEADLINE_S)
        for life in lives:
            gone_on_with(mixed, life)
    assert {state_of(mixed, life.workflow_id) for life in lives} == {(DONE, None)}
    for life in lives:
        life.check(undisturbed[life.model])
    assert_well(Patient(platform=mixed, tenants={}))
