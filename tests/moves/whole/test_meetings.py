"""Moves and whatever else is done to a tenant, its database or the fleet: one of the two waits, or is told why not."""

from __future__ import annotations

from datetime import timedelta

import pytest

from control_plane.domain.ids import new_id
from control_plane.domain.lifecycle import TransitionError
from control_plane.domain.moving import Phase
from control_plane.domain.tenant import Model, Status
from control_plane.registry import fleet, servers, tenants
from control_plane.registry.engine import transaction
from control_plane.registry.fleet import FleetBusyError
from control_plane.tenants import closing, moving, rotating, service
from control_plane.tenants.moving import NotMovableError, NoWayBackError
from control_plane.tenants.rotating import NotRotatableError
from tests.moves.whole.journeys import (
    assert_one_home,
    begin,
    begin_back,
    cancel,
    change,
    fences_of,
    home_of,
    move_of,
    moved,
    settle,
    wait_for,
    where_it_has_rows,
)
from tests.moves.whole.traffic import assert_nothing_lost, refused_all_along, traffic_of
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest
from tests.provisioning.erased import close
from tests.provisioning.workers import workers_alone
from tests.waiting import until

pytestmark = pytest.mark.slow


@pytest.fixture
def on_its_way(town: PlatformUnderTest) -> TenantUnderTest:
    """A tenant whose move has been asked for, and that nobody moves for now: workers are away."""
    return town.tenant(Model.POOL)


def test_what_would_meet_a_move_is_refused(town: PlatformUnderTest, on_its_way: TenantUnderTest) -> None:
    with workers_alone(town):
        move_id = begin(on_its_way, Model.BRIDGE)
        with transaction(town.engine) as session:
            row = tenants.get(session, on_its_way.id, lock=True)
            with pytest.raises(NotMovableError, match="is moved already"):
                moving.request(session, town.workflows, row, "tests", model=Model.SILO)
            with pytest.raises(TransitionError, match="moving cannot become suspended: wait"):
                service.suspend(session, town.workflows, row, "tests")
            with pytest.raises(TransitionError, match="is being moved"):
                closing.close(session, town.workflows, row, "tests", grace=timedelta(1), export=False)
            with pytest.raises(NotRotatableError, match=on_its_way.slug):
                rotating.rotate(session, town.workflows, row, "tests", shared=True)
        with pytest.raises(FleetBusyError, match=on_its_way.slug), fleet.holding_fleet(town.engine, new_id()):
            pass
        assert on_its_way.http.get("/api/me").status_code == 200
        cancel(on_its_way)
    wait_for(town, move_id, Phase.CALLED_OFF)
    assert_one_home(on_its_way, Model.POOL, 1)
    with fleet.holding_fleet(town.engine, new_id()):
        pass


def test_a_move_does_not_begin_while_the_fleet_is_held(town: PlatformUnderTest, on_its_way: TenantUnderTest) -> None:
    with fleet.holding_fleet(town.engine, new_id()), pytest.raises(FleetBusyError):
        begin(on_its_way, Model.SILO)
    assert_one_home(on_its_way, Model.POOL, 1)


def test_a_move_does_not_begin_while_the_login_changes(town: PlatformUnderTest) -> None:
    tenant = town.tenant(Model.SILO)
    with workers_alone(town):
        with transaction(town.engine) as session:
            row = tenants.get(session, tenant.id, lock=True)
            rotating.rotate(session, town.workflows, row, "tests", shared=False)
        with pytest.raises(NotMovableError, match="login"):
            begin(tenant, Model.POOL)


def test_a_suspended_tenant_is_refused_wherever_it_moves_and_has_all_when_it_is_let_in(town: PlatformUnderTest) -> None:
    """There, let in and shut out again in the new home, and back with what it has done meanwhile."""
    tenant = town.tenant(Model.POOL)
    change(tenant, service.suspend)
    with refused_all_along(tenant):
        move = moved(tenant, Model.SILO)
    assert (move.verified, move.stall_ms, town.status(tenant.id)[0]) == (True, None, Status.SUSPENDED)
    assert sorted(fences_of(tenant).values()) == [(1, "closed"), (2, "suspended")]
    change(tenant, service.resume)
    until(lambda: tenant.http.get("/api/me").status_code == 200, what="it is served again")
    with traffic_of(tenant) as traffic:
        assert home_of(tenant)[0] is Model.SILO
    change(tenant, service.suspend)
    with refused_all_along(tenant):
        wait_for(town, begin_back(tenant), Phase.DONE)
    assert_one_home(tenant, Model.POOL, 3, status=Status.SUSPENDED)
    change(tenant, service.resume)
    assert_nothing_lost(tenant, traffic)
    assert_one_home(tenant, Model.POOL, 3)


def test_a_move_of_a_suspended_tenant_that_is_called_off_leaves_it_suspended(town: PlatformUnderTest) -> None:
    tenant = town.tenant(Model.POOL)
    change(tenant, service.suspend)
    with workers_alone(town):
        move_id = begin(tenant, Model.BRIDGE)
        cancel(tenant)
    with refused_all_along(tenant):
        wait_for(town, move_id, Phase.CALLED_OFF)
    assert_one_home(tenant, Model.POOL, 1, status=Status.SUSPENDED)


def test_where_it_lives_already_is_nowhere_to_go(town: PlatformUnderTest, on_its_way: TenantUnderTest) -> None:
    with pytest.raises(NotMovableError, match="already"):
        begin(on_its_way, Model.POOL, "alpha")


def test_what_speaks_against_a_move_is_told_and_nothing_is_left_of_it(
    town: PlatformUnderTest, on_its_way: TenantUnderTest
) -> None:
    with on_its_way.platform.home_of(on_its_way) as home:
        home.execute("ALTER ROLE copyhold_mover NOBYPASSRLS")
        try:
            row = wait_for(town, begin(on_its_way, Model.BRIDGE), Phase.CALLED_OFF)
        finally:
            home.execute("ALTER ROLE copyhold_mover BYPASSRLS")
    assert "copyhold_mover does not see all rows" in str(row.reason)
    assert_one_home(on_its_way, Model.POOL, 1)


def test_rows_that_nobody_knows_of_are_not_deleted(town: PlatformUnderTest) -> None:
    """They stand in the target before the move: it is called off, and they stay for somebody to look at."""
    tenant = town.tenant(Model.BRIDGE)
    with transaction(town.engine) as session:
        pool = servers.databases_of(session, "alpha", Model.POOL)[0].name
    with town.superuser("alpha", pool) as home:
        home.execute(
            "INSERT INTO users (tenant_id, id, name, role, kind) VALUES (%s, %s, 'S', 'member', 'service')",
            [tenant.id, new_id()],
        )
    row = wait_for(town, begin(tenant, Model.POOL, "alpha"), Phase.CALLED_OFF)
    assert "has rows of this tenant already" in str(row.reason)
    assert where_it_has_rows(tenant)[f"{pool}.public"] == 1
    with town.superuser("alpha", pool) as home:
        home.execute("DELETE FROM users WHERE tenant_id = %s", [tenant.id])
    assert_one_home(tenant, Model.BRIDGE, 1)


def test_a_transaction_of_its_own_that_takes_too_long_is_named(
    town: PlatformUnderTest, on_its_way: TenantUnderTest
) -> None:
    """It holds the tenant's lock, as whoever is inside does; everybody else is served meanwhile."""
    with on_its_way.platform.home_of(on_its_way) as home, home.transaction():
        home.execute("SELECT pg_advisory_xact_lock_shared(hashtextextended(%s, 0))", [str(on_its_way.id)])
        move_id = begin(on_its_way, Model.BRIDGE)
        until(lambda: move_of(town, move_id).tries > 1, what="it was tried twice", deadline_s=60)
        assert "waits for process" in str(move_of(town, move_id).reason)
        assert on_its_way.http.get("/api/me").status_code == 200
    wait_for(town, move_id, Phase.KEPT)
    settle(on_its_way)
    wait_for(town, move_id, Phase.DONE)
    assert_one_home(on_its_way, Model.BRIDGE, 2)


def test_who_is_closed_for_good_leaves_nothing_in_the_home_that_is_kept(town: PlatformUnderTest) -> None:
    tenant = town.tenant(Model.POOL)
    move = moved(tenant, Model.BRIDGE)
    assert len(where_it_has_rows(tenant)) == 2
    close(tenant, town.workflows, grace=timedelta(0))
    until(lambda: town.status(tenant.id)[0] == "closed", what="it is erased")
    assert where_it_has_rows(tenant) == {}
    assert move_of(town, move.id).phase == Phase.DONE


def test_there_is_a_way_back_only_from_a_home_that_is_kept(
    town: PlatformUnderTest, on_its_way: TenantUnderTest
) -> None:
    with pytest.raises(NoWayBackError):
        begin_back(on_its_way)
    moved(on_its_way, Model.BRIDGE)
    with pytest.raises(NotMovableError, match="too late"):
        cancel(on_its_way)
    wait_for(town, begin_back(on_its_way), Phase.DONE)
    assert_one_home(on_its_way, Model.POOL, 3)
