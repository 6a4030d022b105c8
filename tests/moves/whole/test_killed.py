"""Whoever moves a tenant may be killed at any moment: before the switch all begins anew or goes back, then it ends."""

from __future__ import annotations

from itertools import count

import pytest

from control_plane.domain.moving import PASSED, Phase
from control_plane.domain.tenant import Model
from control_plane.registry.workflows import MOVE, MOVE_BACK, TIDY_MOVE
from tests.moves.whole.journeys import (
    AT_ONCE,
    assert_one_home,
    begin,
    begin_back,
    epoch_of,
    home_of,
    move_of,
)
from tests.moves.whole.traffic import assert_nothing_lost, traffic_of
from tests.platform_under_test import PlatformUnderTest
from tests.provisioning import worker
from tests.provisioning.workers import workers_alone
from tests.service_user import as_service_user, killed_as_service_user

pytestmark = pytest.mark.slow

FURTHER = 23
"""By so many statements does the next one come further."""


def _killed_ever_later(town: PlatformUnderTest, move_id: object, kind: str, first: int) -> int:
    """How many were killed before one came to the end."""
    for killed, number in enumerate(count(first, FURTHER)):
        work = worker.carry_out_until_statement
        if not killed_as_service_user(town.data, work, town.settings, move_id, kind, number):
            return killed
    raise AssertionError


@pytest.mark.parametrize(("source", "target", "first"), [(Model.POOL, Model.SILO, 5), (Model.BRIDGE, Model.POOL, 16)])
def test_those_who_come_after_bring_it_there(town: PlatformUnderTest, source: Model, target: Model, first: int) -> None:
    tenant = town.tenant(source)
    with workers_alone(town), traffic_of(tenant) as traffic:
        move_id = begin(tenant, target)
        assert _killed_ever_later(town, move_id, MOVE, first) > 5
        assert move_of(town, move_id).phase == Phase.KEPT
        begin_back(tenant)
        assert _killed_ever_later(town, move_id, MOVE_BACK, first) > 2
        assert move_of(town, move_id).phase == Phase.CLEANING
        assert _killed_ever_later(town, move_id, TIDY_MOVE, first) > 0
        assert move_of(town, move_id).phase == Phase.DONE
    assert_nothing_lost(tenant, traffic)
    assert_one_home(tenant, source, epoch_of(tenant))


@pytest.mark.parametrize("number", [9, 40, 75, 110, 150, 190])
def test_whoever_tidies_up_takes_it_to_where_its_phase_leads(town: PlatformUnderTest, number: int) -> None:
    tenant = town.tenant(Model.POOL)
    was, epoch = home_of(tenant)[0], epoch_of(tenant)
    with workers_alone(town), traffic_of(tenant) as traffic:
        move_id = begin(tenant, Model.BRIDGE, window=AT_ONCE)
        assert killed_as_service_user(town.data, worker.carry_out_until_statement, town.settings, move_id, MOVE, number)
        passed = Phase(move_of(town, move_id).phase) in PASSED
        for _ in range(3):
            as_service_user(town.data, worker.carry_out, town.settings, move_id, TIDY_MOVE)
    assert_nothing_lost(tenant, traffic)
    assert_one_home(tenant, Model.BRIDGE if passed else was, epoch + passed)
    assert move_of(town, move_id).phase == (Phase.DONE if passed else Phase.CALLED_OFF)
