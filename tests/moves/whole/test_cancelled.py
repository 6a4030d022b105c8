"""Until it has arrived a move can be cancelled, whatever it is doing: then nothing is left of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from uuid import UUID

import pytest

from control_plane.domain.moving import RULES, Phase
from control_plane.domain.tenant import Model
from control_plane.registry.workflows import MOVE
from tests.moves.whole.journeys import assert_one_home, begin, cancel, end_workflow_of, move_of
from tests.moves.whole.moments import cancel_amid_the_copy, cancel_at
from tests.moves.whole.traffic import assert_nothing_lost, traffic_of
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest
from tests.provisioning.workers import workers_alone
from tests.service_user import as_service_user
from tests.waiting import until

pytestmark = pytest.mark.slow

CANCELLABLE = [phase for phase, rules in RULES.items() if rules.can_cancel]


@pytest.fixture(scope="module")
def resident(town: PlatformUnderTest) -> Iterator[TenantUnderTest]:
    """A tenant in a pool that no move gets away from there. Nobody moves it but a test's own processes."""
    tenant = town.tenant(Model.POOL, server="alpha")
    with workers_alone(town):
        yield tenant


@pytest.fixture
def homebody(town: PlatformUnderTest, resident: TenantUnderTest) -> TenantUnderTest:
    """The same; nothing else is done to it."""
    end_workflow_of(town, resident.id)
    return resident


def _called_off(tenant: TenantUnderTest, act: Callable[[UUID], object]) -> None:
    town = tenant.platform
    with traffic_of(tenant) as traffic:
        move_id = begin(tenant, Model.BRIDGE, "alpha")
        act(move_id)
        seen = traffic.requests
        until(lambda: traffic.requests > seen or bool(traffic.errors), what="it works on")
    move = move_of(town, move_id)
    assert (move.phase, move.reason, move.switched_at) == (Phase.CALLED_OFF, "The move was cancelled.", None)
    assert_nothing_lost(tenant, traffic)
    assert_one_home(tenant, Model.POOL, 1)


@pytest.mark.parametrize("phase", CANCELLABLE, ids=str)
def test_it_is_cancelled_in_each_phase_before_the_switch(
    town: PlatformUnderTest, homebody: TenantUnderTest, phase: Phase
) -> None:
    def act(move_id: UUID) -> None:
        if phase is Phase.REQUESTED:
            cancel(homebody)
        as_service_user(town.data, cancel_at, town.settings, move_id, MOVE, phase)

    _called_off(homebody, act)


def test_it_is_cancelled_amid_the_copy(town: PlatformUnderTest, homebody: TenantUnderTest) -> None:
    _called_off(
        homebody, lambda move_id: as_service_user(town.data, cancel_amid_the_copy, town.settings, move_id, MOVE)
    )
