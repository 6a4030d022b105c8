"""A home that is down concerns its own tenants, is told at once after a while, and comes back unaided."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from control_plane.routing.refusals import BusyError, HomeDownError
from control_plane.routing.road import Road
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest
from tests.routing.hands import counting_roll, who
from tests.routing.roads import road_over
from tests.routing.scratch import ScratchPooler

CONNECT_S = 2
PLACES = 8


@pytest.fixture
async def road(platform: PlatformUnderTest, pooler: ScratchPooler, silo_tenant: TenantUnderTest) -> AsyncIterator[Road]:
    """A road with few places, whose connecting is soon given up."""
    roll = await asyncio.to_thread(counting_roll, platform)
    limits = {"client_connections": PLACES, "connect_timeout_s": CONNECT_S, "connection_wait_s": 1.0}
    async with road_over(platform, pooler.settings, roll=roll, **limits) as road:
        yield road


@contextlib.contextmanager
def down(pooler: ScratchPooler, tenant: TenantUnderTest) -> Iterator[None]:
    """The server of that tenant's database is not there; those who are inside are thrown out."""
    home = tenant.route.home
    assert home is not None
    pooler.apply(hosts={home.alias: "/nonexistent"})
    with tenant.platform.home_of(tenant) as superuser:
        superuser.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = %s", [home.login]
        )
    try:
        yield
    finally:
        pooler.apply()


async def back(road: Road, tenant: TenantUnderTest, *, within_s: float) -> None:
    """Ask until it is served; fails when that takes longer."""
    async with asyncio.timeout(within_s):
        while True:
            with contextlib.suppress(HomeDownError):
                assert await who(road, tenant)
                return
            await asyncio.sleep(0.05)


async def refused_in_s(road: Road, tenant: TenantUnderTest) -> float:
    began = time.monotonic()
    with pytest.raises(HomeDownError):
        await who(road, tenant)
    return time.monotonic() - began


@pytest.mark.slow
async def test_a_home_that_is_down_is_its_own_tenants_trouble_and_comes_back_by_itself(
    pooler: ScratchPooler, road: Road, silo_tenant: TenantUnderTest, pool_tenant: TenantUnderTest
) -> None:
    assert await who(road, silo_tenant)
    with down(pooler, silo_tenant):
        many = [asyncio.ensure_future(who(road, silo_tenant)) for _ in range(10 * PLACES)]
        answered = 0
        while not all(visit.done() for visit in many):
            began = time.monotonic()
            assert await who(road, pool_tenant)
            answered += 1
            assert time.monotonic() - began < 1, "a neighbour had to wait"
            assert road.source.state.lent <= PLACES // 2
        assert answered > 10
        refusals = [visit.exception() for visit in many]
        assert {type(refusal) for refusal in refusals} <= {HomeDownError, BusyError}
        # Now it is known to be down: most are told at once, and one at a time goes and looks.
        waits = await asyncio.gather(*(refused_in_s(road, silo_tenant) for _ in range(30)))
        assert sum(wait > 0.5 for wait in waits) <= 1
        assert road.source.state.lent == 0
    await back(road, silo_tenant, within_s=3 * (CONNECT_S + 2))


@pytest.mark.slow
async def test_an_accident_of_one_connection_shuts_no_gate(
    pooler: ScratchPooler, road: Road, pool_tenant: TenantUnderTest
) -> None:
    for _ in range(5):
        assert await who(road, pool_tenant)
        with pool_tenant.platform.home_of(pool_tenant) as superuser:
            superuser.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'pool_1'")
        await back(road, pool_tenant, within_s=2)


@pytest.mark.slow
async def test_shared_homes_that_are_down_do_not_keep_the_others_from_being_served(
    pooler: ScratchPooler, road: Road, silo_tenant: TenantUnderTest, pool_tenant: TenantUnderTest
) -> None:
    with down(pooler, pool_tenant):
        await asyncio.wait_for(road.check_shared_homes(), 4 * CONNECT_S)
        assert await who(road, silo_tenant)
    await back(road, pool_tenant, within_s=3 * (CONNECT_S + 2))


@pytest.mark.slow
async def test_a_pooler_that_is_killed_and_started_again_is_met_unaided_under_load(
    pooler: ScratchPooler, road: Road, silo_tenant: TenantUnderTest, pool_tenant: TenantUnderTest
) -> None:
    ending = asyncio.Event()
    outcomes: list[type[Exception] | None] = []

    async def keep_asking(tenant: TenantUnderTest) -> None:
        while not ending.is_set():
            try:
                assert await who(road, tenant)
                outcomes.append(None)
            except (HomeDownError, BusyError) as refusal:
                outcomes.append(type(refusal))
                await asyncio.sleep(0.01)

    def restart() -> None:
        pooler.kill()
        pooler.start()

    async with asyncio.TaskGroup() as visitors:
        for number in range(PLACES):
            visitors.create_task(keep_asking((silo_tenant, pool_tenant)[number % 2]))
        for _ in range(3):
            await back(road, pool_tenant, within_s=10)
            await asyncio.to_thread(restart)
            await back(road, pool_tenant, within_s=10)
            await back(road, silo_tenant, within_s=10)
        ending.set()
    assert outcomes.count(None) > 50
    assert road.source.state.most <= PLACES
    assert await who(road, silo_tenant)
