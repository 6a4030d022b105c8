"""Locks, cancels and long statements: what a tenant can do to its neighbours' time, and what bounds it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import psycopg
import pytest
from sqlalchemy import text

from control_plane.routing.refusals import TooSlowError
from control_plane.routing.road import Road
from tests.attacks.burglar import (
    DENIED,
    Connection,
    Door,
    Pair,
    ask,
    enter,
    home_of,
    login_at,
    refusal,
    refusal_in_visit,
    token_for,
    visit,
)
from tests.platform_under_test import PlatformUnderTest
from tests.routing.roads import road_over

LOCK_TIMEOUT, SERIALIZATION = "55P03", "40001"
FREEZE = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"


@pytest.mark.parametrize(
    "call",
    [
        "pg_advisory_lock(1)",
        "pg_advisory_lock_shared(1)",
        "pg_advisory_xact_lock(hashtextextended('{prey}', 0))",
        "pg_advisory_xact_lock_shared(hashtextextended('{prey}', 0))",
        "pg_try_advisory_lock(1)",
        "pg_try_advisory_xact_lock(hashtextextended('{prey}', 0))",
        "pg_try_advisory_xact_lock_shared(1, 2)",
        "pg_advisory_unlock(1)",
        "pg_advisory_unlock_all()",
        "pg_cancel_backend({victim})",
        "pg_terminate_backend({victim})",
        "pg_terminate_backend({victim}, 100)",
        "pg_notify('spy', 'x')",
        "pg_log_backend_memory_contexts({victim})",
    ],
)
def test_locks_and_signals_for_neighbours_are_taken_away(
    platform: PlatformUnderTest, pooled: Connection, pool: Pair, call: str
) -> None:
    with login_at(platform, home_of(pool.prey), Door.SERVER) as victim, visit(victim, pool.prey):
        statement = f"SELECT {call.format(prey=pool.prey.id, victim=victim.info.backend_pid)}"
        assert refusal_in_visit(pooled, pool.thief, statement) == DENIED
        assert ask(victim, "SELECT tenancy.current_tenant()") == [(pool.prey.id,)]


def test_the_harm_is_real_a_superusers_advisory_lock_holds_up_a_freeze(platform: PlatformUnderTest, pool: Pair) -> None:
    """The control of the test above."""
    with platform.home_of(pool.prey) as holder, platform.home_of(pool.prey) as freezer:
        holder.execute("SELECT pg_advisory_lock_shared(hashtextextended(%s, 0))", [str(pool.prey.id)])
        freezer.execute("SET lock_timeout = '50ms'")
        assert refusal(freezer, FREEZE, str(pool.prey.id)) == LOCK_TIMEOUT


def test_the_harm_is_real_a_superuser_ends_a_neighbours_session(platform: PlatformUnderTest, pool: Pair) -> None:
    """The control of the test above."""
    with platform.home_of(pool.prey) as superuser, login_at(platform, home_of(pool.prey), Door.SERVER) as victim:
        enter(victim, pool.prey)
        assert ask(superuser, "SELECT pg_terminate_backend(%s, 5000)", victim.info.backend_pid) == [(True,)]
        with pytest.raises(psycopg.OperationalError):
            ask(victim, "SELECT 1")


def test_a_visit_holds_its_own_tenants_lock_and_no_other(platform: PlatformUnderTest, pool: Pair) -> None:
    with (
        login_at(platform, home_of(pool.thief)) as connection,
        platform.home_of(pool.thief) as superuser,
        visit(connection, pool.thief),
    ):
        free = "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))"
        assert ask(superuser, free, str(pool.thief.id)) == [(False,)]
        assert ask(superuser, free, str(pool.prey.id)) == [(True,)]


@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE", "READ COMMITTED", "READ UNCOMMITTED"])
def test_a_snapshot_from_before_a_freeze_does_not_slip_in_after_it(
    platform: PlatformUnderTest, pool: Pair, isolation: str
) -> None:
    frozen = "CH004"
    token = token_for(pool.thief)
    with platform.home_of(pool.thief) as superuser, login_at(platform, home_of(pool.thief)) as late:
        late.execute(f"BEGIN ISOLATION LEVEL {isolation}".encode())
        ask(late, "SELECT count(*) FROM pg_class")
        set_state = "UPDATE tenancy.fences SET state = %s WHERE tenant_id = %s"
        superuser.execute(set_state, ["frozen", pool.thief.id])
        try:
            expected = frozen if isolation.startswith("READ") else SERIALIZATION
            assert refusal(late, "SELECT tenancy.enter(%s)", token) == expected
        finally:
            late.execute("ROLLBACK")
            superuser.execute(set_state, ["open", pool.thief.id])


@pytest.fixture
async def hurried(platform: PlatformUnderTest, pool: Pair) -> AsyncIterator[Road]:
    """A road whose visits may take half a second."""
    async with road_over(platform, transaction_timeout_s=0.5, statement_timeout_s=0.2) as road:
        yield road


LOCK_EVERYBODY_OUT = "LOCK TABLE conversations IN ACCESS EXCLUSIVE MODE"


async def sees_itself(road: Road, pair: Pair) -> bool:
    async with road.enter(pair.prey.id) as session:
        found = (await session.execute(text("SELECT subject FROM conversations"))).scalars().all()
    return pair.secret in found


async def test_a_tenant_that_locks_a_shared_table_and_lifts_its_time_out_is_ended_with_its_visit(
    platform: PlatformUnderTest, hurried: Road, pool: Pair
) -> None:
    """LOCK TABLE comes with the right to update; what bounds it is the time that a visit may take."""

    async def attack() -> None:
        async with hurried.enter(pool.thief.id) as session:
            await session.execute(text("SET LOCAL statement_timeout = 0"))
            await session.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
            await session.execute(text(LOCK_EVERYBODY_OUT))
            await session.execute(text("SELECT pg_sleep(3600)"))

    began = time.monotonic()
    with pytest.raises(TooSlowError):
        await attack()
    assert time.monotonic() - began < 60
    assert await sees_itself(hurried, pool)
    with platform.home_of(pool.thief) as superuser:
        assert ask(superuser, r"SELECT query FROM pg_stat_activity WHERE query ~ 'sleep\(3600'") == []


async def test_a_visit_that_holds_a_lock_and_does_nothing_is_ended_as_well(hurried: Road, pool: Pair) -> None:
    async def attack() -> None:
        async with hurried.enter(pool.thief.id) as session:
            await session.execute(text(LOCK_EVERYBODY_OUT))
            await asyncio.Event().wait()

    with pytest.raises(TooSlowError):
        await attack()
    assert await sees_itself(hurried, pool)


async def test_neighbours_of_a_locked_table_are_told_soon_instead_of_waiting(
    platform: PlatformUnderTest, hurried: Road, pool: Pair
) -> None:
    with login_at(platform, home_of(pool.thief)) as thief, visit(thief, pool.thief):
        ask(thief, LOCK_EVERYBODY_OUT)
        with pytest.raises(TooSlowError):
            await sees_itself(hurried, pool)
    assert await sees_itself(hurried, pool)


def test_a_cancel_cannot_be_caught(pooled: Connection, pool: Pair) -> None:
    """DO blocks are how a statement would survive its cancel: EXCEPTION WHEN query_canceled."""
    stubborn = "DO $$ BEGIN PERFORM pg_sleep(9); EXCEPTION WHEN query_canceled THEN PERFORM pg_sleep(9); END $$"
    assert refusal_in_visit(pooled, pool.thief, stubborn) == DENIED


def test_the_servers_own_time_outs_stand_behind_the_roads(platform: PlatformUnderTest, pool: Pair, door: Door) -> None:
    with login_at(platform, home_of(pool.thief), door) as connection:
        limits = ask(
            connection,
            "SELECT current_setting('statement_timeout'), current_setting('idle_in_transaction_session_timeout')",
        )
    assert limits == [("15s", "30s")]
