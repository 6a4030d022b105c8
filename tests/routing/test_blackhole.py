"""A silo that swallows all that is sent to it: nobody else has an error, nobody hangs, and it comes back unaided."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol

import pytest

from control_plane.routing.road import Road
from tests.folders import new_folder
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest
from tests.routing.hands import SERVED, counting_roll, outcome
from tests.routing.roads import road_over, soon
from tests.routing.scratch import ScratchPooler
from tests.routing.test_down import back

pytestmark = pytest.mark.slow

VISITORS = 30
"""Of the silo; as many places has the whole road."""
FEW: dict[str, Any] = {"client_connections": VISITORS, "connect_timeout_s": 2, "statement_timeout_s": 3}
SILOS = 3
NEIGHBOURS_ASKED = 300
ALL_DONE_S = 90
"""Nobody is waited for longer: by then they hang."""


class Blackhole(Protocol):
    """Makes a silo swallow everything until the block ends."""

    def __call__(self, pooler: ScratchPooler, tenant: TenantUnderTest) -> AbstractContextManager[None]: ...


@contextlib.contextmanager
def nobody_accepts(pooler: ScratchPooler, tenant: TenantUnderTest, *more: TenantUnderTest) -> Iterator[None]:
    """Their server's socket takes connections in and never answers; those who are inside are thrown out."""
    homes, folder = [each.route.home for each in (tenant, *more)], new_folder("ch-silent-")
    os.chmod(folder, 0o755)  # noqa: PTH101
    port = tenant.platform.server("beta").port
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(f"{folder}/.s.PGSQL.{port}")
        os.chmod(f"{folder}/.s.PGSQL.{port}", 0o777)  # noqa: PTH101
        silent.listen(1000)
        pooler.apply(hosts={home.alias: str(folder) for home in homes if home is not None})
        with tenant.platform.home_of(tenant) as superuser:
            superuser.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = ANY(%s)",
                [[home.login for home in homes if home is not None]],
            )
        try:
            yield
        finally:
            pooler.apply()
            shutil.rmtree(folder)


@contextlib.contextmanager
def processes_stopped(_pooler: ScratchPooler, tenant: TenantUnderTest) -> Iterator[None]:
    """Its server processes are stopped where they are."""
    home = tenant.route.home
    assert home is not None
    with tenant.platform.superuser("beta", "postgres") as superuser:
        rows = superuser.execute("SELECT pid FROM pg_stat_activity WHERE usename = %s", [home.login]).fetchall()
    stopped = [pid for (pid,) in rows]
    assert stopped
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@pytest.fixture
async def road(platform: PlatformUnderTest, pooler: ScratchPooler) -> AsyncIterator[Road]:
    """A road with as many places as the silo has visitors."""
    roll = await asyncio.to_thread(counting_roll, platform)
    async with road_over(platform, pooler.settings, roll=roll, **FEW) as road:
        yield road


@pytest.mark.parametrize("blackhole", [nobody_accepts, processes_stopped])
async def test_a_silo_that_swallows_everything_is_its_own_tenants_trouble(
    pooler: ScratchPooler,
    road: Road,
    silo_tenant: TenantUnderTest,
    pool_tenant: TenantUnderTest,
    bridge_tenant: TenantUnderTest,
    blackhole: Blackhole,
) -> None:
    ended, theirs = asyncio.Event(), Counter[str]()

    async def keep_asking() -> None:
        while not ended.is_set():
            theirs[await outcome(road, silo_tenant)] += 1
            await asyncio.sleep(0.01)

    visitors = [asyncio.ensure_future(keep_asking()) for _ in range(VISITORS)]
    await soon(lambda: theirs[SERVED] > VISITORS, what="the silo is visited")
    hole = blackhole(pooler, silo_tenant)
    await asyncio.to_thread(hole.__enter__)
    try:
        neighbours = Counter(
            [await outcome(road, (pool_tenant, bridge_tenant)[number % 2]) for number in range(NEIGHBOURS_ASKED)]
        )
        ended.set()
        async with asyncio.timeout(ALL_DONE_S):
            await asyncio.gather(*visitors)
    finally:
        await asyncio.to_thread(hole.__exit__, None, None, None)
    assert neighbours == {SERVED: NEIGHBOURS_ASKED}
    assert {SERVED} < theirs.keys() <= {SERVED, "home_down", "busy", "too_slow"}, theirs
    await back(road, silo_tenant, within_s=ALL_DONE_S)


async def test_many_silent_silos_of_one_server_are_no_trouble_of_those_of_another(
    platform: PlatformUnderTest, pooler: ScratchPooler, silo_tenant: TenantUnderTest, pool_tenant: TenantUnderTest
) -> None:
    silos = [silo_tenant, *[await asyncio.to_thread(platform.tenant, "silo") for _ in range(SILOS - 1)]]
    await asyncio.to_thread(pooler.apply)
    roll = await asyncio.to_thread(counting_roll, platform)
    async with road_over(platform, pooler.settings, roll=roll, **FEW) as road:
        for silo in silos:
            assert await outcome(road, silo) == SERVED
        hole = nobody_accepts(pooler, *silos)
        await asyncio.to_thread(hole.__enter__)
        try:
            visitors = [asyncio.ensure_future(outcome(road, silos[number % SILOS])) for number in range(4 * VISITORS)]
            await soon(lambda: road.source.state.lent >= VISITORS // 2, what="they take all places that they may")
            assert road.source.state.lent == VISITORS // 2
            neighbours = Counter([await outcome(road, pool_tenant) for _ in range(NEIGHBOURS_ASKED)])
            assert neighbours == {SERVED: NEIGHBOURS_ASKED}
            async with asyncio.timeout(ALL_DONE_S):
                assert SERVED not in await asyncio.gather(*visitors)
        finally:
            await asyncio.to_thread(hole.__exit__, None, None, None)
        for silo in silos:
            await back(road, silo, within_s=ALL_DONE_S)


async def test_a_visit_that_begins_at_a_stopped_process_ends_and_the_next_one_is_served(
    pooler: ScratchPooler, road: Road, silo_tenant: TenantUnderTest
) -> None:
    assert await outcome(road, silo_tenant) == SERVED
    hole = processes_stopped(pooler, silo_tenant)
    await asyncio.to_thread(hole.__enter__)
    try:
        async with asyncio.timeout(ALL_DONE_S):
            assert await outcome(road, silo_tenant) == "home_down"
        # Unaided: whoever was stopped still is.
        await back(road, silo_tenant, within_s=ALL_DONE_S)
    finally:
        await asyncio.to_thread(hole.__exit__, None, None, None)
