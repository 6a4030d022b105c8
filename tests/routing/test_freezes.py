"""While a move freezes a tenant its visits wait, hold no connection, and are served once it thaws or told in time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from control_plane.domain.route import Route
from control_plane.routing.refusals import FrozenError
from control_plane.routing.road import THAW_POLL_S, Road
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest
from tests.routing.hands import CountingRoll, counting_roll, set_fence, set_route, who
from tests.routing.roads import road_over, soon
from tests.routing.scratch import ScratchPooler

VISITS = 30
PATIENT_S = 0.5


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


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Visits, which ask the fence one after the other, wait for longer between: at some moment all of them wait."""
    monkeypatch.setattr("control_plane.routing.road.THAW_POLL_S", PATIENT_S)


@pytest.mark.slow
@pytest.mark.usefixtures("patient")
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


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long visits were ready to wait, one after the other."""
    told: list[float] = []
    wait = Road._wait_for_change

    async def waiting(road: Road, within_s: float) -> None:
        told.append(within_s)
        await wait(road, within_s)

    monkeypatch.setattr(Road, "_wait_for_change", waiting)
    return told


@pytest.fixture
def led_on(traveller: TenantUnderTest) -> Iterator[Callable[..., None]]:
    """Leads the route on, and has the fence in that state at the new epoch."""
    epoch = traveller.route.epoch

    def lead_on(state: str) -> None:
        set_fence(traveller, state=state, epoch=epoch + 1)
        set_route(traveller, epoch=epoch + 1)

    yield lead_on
    set_fence(traveller, state="open", epoch=epoch)
    set_route(traveller, epoch=epoch)


async def test_who_comes_as_the_route_is_led_on_does_not_wait_for_what_has_come(
    pooler: ScratchPooler,
    roll: CountingRoll,
    traveller: TenantUnderTest,
    waited: list[float],
    led_on: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begin = Road._begin

    async def led_on_meanwhile(road: Road, route: Route, *others: Any) -> Any:
        try:
            return await begin(road, route, *others)
        except FrozenError:
            led_on("open")
            await asyncio.to_thread(roll.refresh)
            await soon(lambda: road.route_of(route.tenant_id).epoch > route.epoch, what="it is heard")
            raise

    async with road_over(pooler.platform, pooler.settings, roll=roll) as road:
        set_fence(traveller, state="frozen")
        monkeypatch.setattr(Road, "_begin", led_on_meanwhile)
        assert await who(road, traveller)
    assert waited == []


async def test_who_comes_too_late_to_the_old_home_follows_a_route_that_has_come_without_asking_for_it(
    pooler: ScratchPooler,
    roll: CountingRoll,
    traveller: TenantUnderTest,
    led_on: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begin, reads = Road._begin, []

    async def led_on_before(road: Road, route: Route, *others: Any) -> Any:
        if not reads:
            led_on("open")
            await asyncio.to_thread(roll.refresh)
            await soon(lambda: road.route_of(route.tenant_id).epoch > route.epoch, what="it is heard")
            reads.append(roll.reads)
        return await begin(road, route, *others)

    async with road_over(pooler.platform, pooler.settings, roll=roll) as road:
        monkeypatch.setattr(Road, "_begin", led_on_before)
        assert await who(road, traveller)
        assert reads == [roll.reads]


async def test_a_home_that_is_about_to_be_opened_is_asked_again_soon(
    pooler: ScratchPooler,
    roll: CountingRoll,
    traveller: TenantUnderTest,
    waited: list[float],
    led_on: Callable[..., None],
) -> None:
    """The route is led on a moment before: whoever hears of that at once would wait for nothing to be told of."""
    async with road_over(pooler.platform, pooler.settings, roll=roll) as road:
        led_on("frozen")
        await asyncio.to_thread(roll.refresh)
        visit = asyncio.ensure_future(who(road, traveller))
        await soon(lambda: len(waited) >= 7, what="it asks time and again")
        set_fence(traveller, state="open")
        assert await visit
    assert waited[:7] == [0.005, 0.01, 0.02, 0.04, 0.08, THAW_POLL_S, THAW_POLL_S]


async def test_before_the_switch_a_home_is_asked_now_and_then(
    pooler: ScratchPooler, roll: CountingRoll, traveller: TenantUnderTest, waited: list[float]
) -> None:
    """Its requests wait to be told; to ask would take the time that the move needs."""
    async with road_over(pooler.platform, pooler.settings, roll=roll) as road:
        about_to_move = replace(traveller.route, next_home=traveller.route.home)
        road.route_of = lambda _: about_to_move  # type: ignore[method-assign]
        set_fence(traveller, state="frozen")
        visit = asyncio.ensure_future(who(road, traveller))
        await soon(lambda: len(waited) >= 2, what="it waits, and waits again")
        set_fence(traveller, state="open")
        assert await visit
    assert set(waited) == {THAW_POLL_S}


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


@pytest.mark.usefixtures("patient")
async def test_many_waiters_ask_the_roll_as_one(
    pooler: ScratchPooler, roll: CountingRoll, traveller: TenantUnderTest
) -> None:
    async with frozen(pooler, roll, traveller) as (road, _):
        await soon(lambda: road._waiting_for_thaw == VISITS, what="all of them wait")
        before, began = roll.reads, time.monotonic()
        await soon(lambda: roll.reads > before + 2, what="the roll is asked now and then")
        rounds = 1 + (time.monotonic() - began) / PATIENT_S
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
