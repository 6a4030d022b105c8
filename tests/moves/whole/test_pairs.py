"""From any model to any other, under writes, and back: nobody notices."""

from __future__ import annotations

from datetime import timedelta

import pytest

from control_plane.domain.moving import Phase
from control_plane.domain.tenant import Model
from tests.moves.whole.journeys import (
    AT_ONCE,
    assert_one_home,
    begin,
    begin_back,
    epoch_of,
    fences_of,
    home_of,
    settle,
    wait_for,
)
from tests.moves.whole.traffic import assert_nothing_lost, traffic_of
from tests.platform_under_test import PlatformUnderTest

pytestmark = pytest.mark.slow

PAIRS = [
    (Model.POOL, Model.SILO, None),
    (Model.SILO, Model.POOL, None),
    (Model.POOL, Model.BRIDGE, None),
    (Model.BRIDGE, Model.POOL, None),
    (Model.BRIDGE, Model.SILO, None),
    (Model.SILO, Model.BRIDGE, None),
    (Model.SILO, Model.SILO, "other"),
]


def other_server(name: str) -> str:
    return "beta" if name == "alpha" else "alpha"


@pytest.mark.parametrize(("source", "target", "server"), PAIRS)
def test_a_tenant_moves_while_it_works(
    town: PlatformUnderTest, source: Model, target: Model, server: str | None
) -> None:
    tenant = town.tenant(source)
    to = other_server(home_of(tenant)[1]) if server else None
    epoch = epoch_of(tenant)
    with traffic_of(tenant) as traffic:
        move = wait_for(town, begin(tenant, target, to, window=AT_ONCE), Phase.DONE)
        seen = traffic.requests
        while traffic.requests < seen + 10:
            assert traffic.errors == []
    assert_nothing_lost(tenant, traffic)
    assert move.verified is True
    assert_one_home(tenant, target, epoch + 1)
    if to:
        assert home_of(tenant)[1] == to


@pytest.mark.parametrize(("source", "target"), [(Model.POOL, Model.SILO), (Model.SILO, Model.BRIDGE)])
def test_a_tenant_moves_back_with_all_that_it_has_done_since(
    town: PlatformUnderTest, source: Model, target: Model
) -> None:
    tenant = town.tenant(source)
    home, epoch = home_of(tenant), epoch_of(tenant)
    with traffic_of(tenant) as traffic:
        wait_for(town, begin(tenant, target, window=timedelta(hours=1)), Phase.KEPT)
        assert {state for _, state in fences_of(tenant).values()} == {"open", "closed"}
        seen = traffic.requests
        while traffic.requests < seen + 10:
            assert traffic.errors == []
        wait_for(town, begin_back(tenant), Phase.DONE)
    assert_nothing_lost(tenant, traffic)
    assert home_of(tenant) == home
    assert_one_home(tenant, source, epoch + 2)


def test_the_home_that_was_left_goes_when_nobody_wants_it_any_more(town: PlatformUnderTest) -> None:
    tenant = town.tenant(Model.POOL)
    move_id = begin(tenant, Model.SILO)
    wait_for(town, move_id, Phase.KEPT)
    settle(tenant)
    wait_for(town, move_id, Phase.DONE)
    assert_one_home(tenant, Model.SILO, 2)
