"""From any model to any other, under writes, and back: nobody notices."""

from __future__ import annotations

from datetime import timedelta

import pytest

from control_plane.domain.moving import Phase
from control_plane.domain.tenant import Model, Status
from control_plane.registry import servers
from control_plane.registry.engine import transaction
from control_plane.tenants import places
from control_plane.tenants.moving import NotMovableError
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
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest
from tests.provisioning.erased import close
from tests.waiting import until

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


def another_on_beta(tenant: TenantUnderTest) -> str:
    """A pool or bridge there that it does not live in; made if there is none."""
    town, home = tenant.platform, tenant.route.home
    assert home is not None
    with transaction(town.engine) as session:
        if len(servers.databases_of(session, "beta", tenant.model)) == 1:
            places.grow(session, town.workflows, "beta", tenant.model, None, "tests")
        there = servers.databases_of(session, "beta", tenant.model)
    return next(row.name for row in there if row.name != home.database)


@pytest.mark.parametrize("model", [Model.POOL, Model.BRIDGE], ids=str)
def test_a_tenant_moves_into_another_database_of_its_server_and_back(town: PlatformUnderTest, model: Model) -> None:
    tenant = town.tenant(model, server="beta")
    left, other = tenant.route.home, another_on_beta(tenant)
    assert left is not None
    with pytest.raises(NotMovableError, match=f"lives in {left.database} already"):
        begin(tenant, model, database=left.database)
    with traffic_of(tenant) as traffic:
        wait_for(town, begin(tenant, model, database=other), Phase.KEPT)
        assert fences_of(tenant) == {left.database: (1, "closed"), other: (2, "open")}
        seen = traffic.requests
        until(lambda: traffic.requests > seen + 10 or bool(traffic.errors), what="it works there")
        wait_for(town, begin_back(tenant), Phase.DONE)
    assert_nothing_lost(tenant, traffic)
    assert tenant.route.home == left
    assert_one_home(tenant, model, 3)
    close(tenant, town.workflows, grace=AT_ONCE)
    until(lambda: town.status(tenant.id)[0] is Status.CLOSED, what="it leaves beta as it was")


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
