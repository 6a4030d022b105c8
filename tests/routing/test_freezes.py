"""While a move freezes a tenant its visits wait, hold no connection, and are served once it thaws or told in time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from control_plane.routing.refusals import FrozenError
from control_plane.routing.road import Road
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest
from tests.routing.hands import CountingRoll, counting_roll, set_fence, set_route, who
from tests.routing.roads import road_over, soon
from tests.routing.scratch import ScratchPooler

VISITS = 30


@pytest.fixture(scope="module")
def traveller(platform: PlatformUnderTest) -> TenantUnderTest:
    """A tenant that is frozen and thawed; every test leaves it open."""
    return platform.tenant("pool")


@pytest.fixture
def roll(platform: PlatformUnderTest, traveller: TenantUnderTest) -> CountingRoll:
    """A roll as it is now."""
    return counting_roll(platform)


@asynccontextmanager
async def frozen(
    pooler: ScratchPooler, roll: CountingRoll, tenant: TenantUnderTest, **limits: Any
) -> AsyncIterator[tuple[Road, list[asyncio.Task[bool]]]]:
    """A road with one connection, and visits that wait for the tenant to thaw."""
    limits = {"client_connections": 1, "freeze_wait_s": 120.0, "connection_wait_s": 120.0, **limits}
    async with road_over(pooler.platform, pooler.settings, roll=roll, **limits) as road:
        assert await who(road, tenant)
        set_fence(tenant, state="frozen")
        try:
            visits = [asyncio.ensure_future(who(road, tenant)) for _ in range(VISITS)]
            await soon(lambda: road._waiting_for_thaw > 0, what="somebody waits for the thaw")
            yield road, visits
        finally:
            set_fence(tenant, state="open")
        await asyncio.gather(*visits, return_exceptions=True)


@pytest.mark.slow
async def test_who_waits_for_a_thaw_holds_no_connection(
    pooler: ScratchPooler, roll: CountingRoll, traveller: TenantUnderTest, pool_tenant: TenantUnderTest
) -> None:
    async with frozen(pooler, roll, traveller) as (road, visits):
        await soon(lambda: road._waiting_for_thaw == VISITS, what="all of them wait")
        assert road.source.state.lent == 0
        assert road.source.state.idle == 1
        assert await who(road, pool_tenant)  # the one connection there may be is free for neighbours
        assert not any(visit.done() for visit in visits)


async def test_a_move_that_is_called_off_thaws_them_all(
    pooler: ScratchPooler, roll: CountingRoll, traveller: TenantUnderTest
) -> None:
    async with frozen(pooler, roll, traveller) as (_, visits):
        set_fence(traveller, state="open")
        assert all(await asyncio.gather(*visits))


async def test_a_move_that_is_done_is_followed_at_once(
    pooler: ScratchPooler, roll: CountingRoll, traveller: TenantUnderTest
) -> None:
    epoch = traveller.route.epoch
    async with frozen(pooler, roll, traveller) as (_, visits):
        set_fence(traveller, state="open", epoch=epoch + 1)
        set_route(traveller, epoch=epoch + 1)
        try:
            await asyncio.to_thread(roll.refresh)
            assert all(await asyncio.gather(*visits))
        finally:
            set_fence(traveller, epoch=epoch)
            set_route(traveller, epoch=epoch)


async def test_who_has_waited_long_enough_is_told(
    pooler: ScratchPooler, roll: CountingRoll, traveller: TenantUnderTest
) -> None:
    async with frozen(pooler, roll, traveller, freeze_wait_s=0.3) as (road, visits):
        began = time.monotonic()
        outcomes = await asyncio.gather(*visits, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {FrozenError}
        assert time.monotonic() - began < 60
        assert road.source.state.lent == 0


async def test_no_more_wait_than_may_and_the_next_is_told_at_once(
    pooler: ScratchPooler, roll: CountingRoll, traveller: TenantUnderTest
) -> None:
    async with frozen(pooler, roll, traveller, freeze_waiters=5) as (_, visits):
        await soon(lambda: sum(visit.done() for visit in visits) >= VISITS - 5, what="the rest are told")
        set_fence(traveller, state="open")
        outcomes = await asyncio.gather(*visits, return_exceptions=True)
        told = [outcome for outcome in outcomes if isinstance(outcome, FrozenError)]
        assert len(told) >= VISITS - 5
        assert {True} >= {outcome for outcome in outcomes if outcome not in told}


async def test_many_waiters_ask_the_roll_as_one(
    pooler: ScratchPooler, roll: CountingRoll, traveller: TenantUnderTest
) -> None:
    async with frozen(pooler, roll, traveller) as (road, _):
        await soon(lambda: road._waiting_for_thaw == VISITS, what="all of them wait")
        before, began = roll.reads, time.monotonic()
        await soon(lambda: roll.reads > before + 2, what="the roll is asked now and then")
        rounds = 1 + (time.monotonic() - began) / 0.1
        assert roll.reads - before < VISITS / 2 * rounds


async def test_a_control_database_that_hangs_delays_no_thaw(
    pooler: ScratchPooler, roll: CountingRoll, traveller: TenantUnderTest
) -> None:
    async with frozen(pooler, roll, traveller) as (_, visits):
        roll.may_read.clear()
        try:
            set_fence(traveller, state="open")
            async with asyncio.timeout(60):
                assert all(await asyncio.gather(*visits))
        finally:
            roll.may_read.set()


async def test_a_waiter_that_is_cancelled_leaves_nothing(
    pooler: ScratchPooler, roll: CountingRoll, traveller: TenantUnderTest
) -> None:
    async with frozen(pooler, roll, traveller) as (road, visits):
        for visit in visits:
            visit.cancel()
        await asyncio.gather(*visits, return_exceptions=True)
        assert road._waiting_for_thaw == 0
        await soon(lambda: road.source.state.lent == 0, what="all has come back")
