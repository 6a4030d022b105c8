"""ConnectionSource against a real PgBouncer: one cap for all, first come first served, nothing lost by a cancel."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest

from control_plane.routing.connections import ConnectionSource, Key, LentConnection
from control_plane.routing.refusals import BusyError
from tests.platform_under_test import TenantUnderTest
from tests.routing.roads import soon
from tests.routing.scratch import ScratchPooler

LONG_S = 3600.0


@pytest.fixture(scope="module")
def keys(pool_tenant: TenantUnderTest, bridge_tenant: TenantUnderTest, silo_tenant: TenantUnderTest) -> list[Key]:
    """Three databases to reach."""
    homes = [tenant.route.home for tenant in (pool_tenant, bridge_tenant, silo_tenant)]
    return [Key(home.alias, home.login) for home in homes if home is not None]


def opener(pooler: ScratchPooler) -> Callable[[Key], Awaitable[LentConnection]]:
    async def open_one(key: Key) -> LentConnection:
        conninfo = f"host={pooler.folder} port={pooler.port} dbname={key.alias} user={key.login}"
        return await LentConnection.connect(conninfo, autocommit=True, prepare_threshold=None)

    return open_one


@asynccontextmanager
async def lending(pooler: ScratchPooler, **options: Any) -> AsyncIterator[ConnectionSource]:
    """A source; at the end everything has come back to it and PgBouncer has as many clients as it says."""
    opened = options.pop("opened", opener(pooler))
    options = {"limit": 2, "waiters": 100, "wait_s": 30.0, "age_s": LONG_S, **options}
    source = ConnectionSource(opened, **options)
    try:
        yield source
        await soon(lambda: source.state.lent == 0 and source.state.waiting == 0, what="all has come back")
        await soon(lambda: pooler.clients() == source.state.idle, what="PgBouncer has no other clients")
    finally:
        await source.close()
    await soon(lambda: pooler.clients() == 0, what="all are closed")


async def process_of(connection: LentConnection) -> int:
    ((process,),) = await (await connection.execute("SELECT pg_backend_pid()")).fetchall()
    assert isinstance(process, int)
    return process


def waiting_for(source: ConnectionSource, key: Key) -> asyncio.Task[LentConnection]:
    return asyncio.ensure_future(source.borrow(key))


async def test_what_comes_back_is_lent_again_to_the_same_database(pooler: ScratchPooler, keys: list[Key]) -> None:
    async with lending(pooler) as source:
        first = await source.borrow(keys[0])
        await first.close()
        assert source.state.idle == 1
        again = await source.borrow(keys[0])
        assert again is first
        await again.close()
        assert source.state.most == 1


async def test_the_least_recently_used_idle_one_makes_room_for_another_database(
    pooler: ScratchPooler, keys: list[Key]
) -> None:
    async with lending(pooler) as source:
        old, young = await source.borrow(keys[0]), await source.borrow(keys[1])
        await old.close()
        await young.close()
        other = await source.borrow(keys[2])
        assert (old.closed, young.closed) == (True, False)
        assert source.state.most == 2
        await other.close()


async def test_waiters_are_served_in_the_order_in_which_they_came(pooler: ScratchPooler, keys: list[Key]) -> None:
    async with lending(pooler, limit=1) as source:
        held = await source.borrow(keys[0])
        served: list[int] = []

        async def wait(number: int) -> None:
            connection = await source.borrow(keys[number % 3])
            served.append(number)
            await connection.close()

        async with asyncio.TaskGroup() as waiters:
            for number in range(20):
                waiters.create_task(wait(number))
                await soon(lambda number=number: source.state.waiting == number + 1, what="it waits")  # type: ignore[misc]
            await held.close()
        assert served == list(range(20))
        assert source.state.most == 1


async def test_a_waiter_for_the_same_database_gets_the_connection_itself(
    pooler: ScratchPooler, keys: list[Key]
) -> None:
    async with lending(pooler, limit=1) as source:
        held = await source.borrow(keys[0])
        waiter = waiting_for(source, keys[0])
        await soon(lambda: source.state.waiting == 1, what="it waits")
        await held.close()
        got = await waiter
        assert got is held
        assert not got.closed
        await got.close()


async def test_a_waiter_for_another_database_gets_the_place(pooler: ScratchPooler, keys: list[Key]) -> None:
    async with lending(pooler, limit=1) as source:
        held = await source.borrow(keys[0])
        waiter = waiting_for(source, keys[1])
        await soon(lambda: source.state.waiting == 1, what="it waits")
        await held.close()
        got = await waiter
        assert held.closed
        assert got.info.dbname == keys[1].alias
        await got.close()


async def test_a_waiter_that_is_cancelled_as_it_is_served_passes_on_what_it_got(
    pooler: ScratchPooler, keys: list[Key]
) -> None:
    async with lending(pooler, limit=1) as source:
        for first, second in ((keys[0], keys[0]), (keys[0], keys[1]), (keys[1], keys[0])):
            held = await source.borrow(keys[0])
            cancelled, next_one = waiting_for(source, first), waiting_for(source, second)
            await soon(lambda: source.state.waiting == 2, what="both wait")
            await held.close()  # granted to the first, which has not run yet
            cancelled.cancel()
            got = await next_one
            assert cancelled.cancelled() or cancelled.done()
            assert await process_of(got)
            await got.close()


async def test_a_waiter_that_is_cancelled_while_it_waits_leaves_the_queue(
    pooler: ScratchPooler, keys: list[Key]
) -> None:
    async with lending(pooler, limit=1) as source:
        held = await source.borrow(keys[0])
        cancelled, next_one = waiting_for(source, keys[0]), waiting_for(source, keys[0])
        await soon(lambda: source.state.waiting == 2, what="both wait")
        cancelled.cancel()
        await soon(lambda: source.state.waiting == 1, what="one waits")
        await held.close()
        await (await next_one).close()


async def test_one_waiter_too_many_is_refused_at_once(pooler: ScratchPooler, keys: list[Key]) -> None:
    async with lending(pooler, limit=1, waiters=2) as source:
        held = await source.borrow(keys[0])
        waiters = [waiting_for(source, keys[0]) for _ in range(2)]
        await soon(lambda: source.state.waiting == 2, what="they wait")
        with pytest.raises(BusyError) as refused:
            await source.borrow(keys[0])
        assert refused.value.facts == {"waiting": 2}
        await held.close()
        for waiter in waiters:
            await (await waiter).close()


async def test_who_waits_too_long_is_refused_and_the_next_is_served(pooler: ScratchPooler, keys: list[Key]) -> None:
    async with lending(pooler, limit=1, wait_s=0.05) as source:
        held = await source.borrow(keys[0])
        with pytest.raises(BusyError):
            await source.borrow(keys[0])
        assert source.state.waiting == 0
        await held.close()
        await (await source.borrow(keys[0])).close()


async def test_an_idle_connection_that_was_hung_up_is_not_lent(pooler: ScratchPooler, keys: list[Key]) -> None:
    async with lending(pooler) as source:
        first = await source.borrow(keys[0])
        await first.close()
        pooler.kill()
        pooler.start()
        second = await source.borrow(keys[0])
        assert second is not first
        assert await process_of(second)
        await second.close()
        assert source.state.idle == 1


@pytest.mark.parametrize("state", ["in a transaction", "failed", "broken", "in mid-query", "with other settings"])
async def test_what_comes_back_unfit_is_closed_and_its_place_is_free(
    pooler: ScratchPooler, keys: list[Key], state: str
) -> None:
    async with lending(pooler, limit=1) as source:
        connection = await source.borrow(keys[0])
        match state:
            case "in a transaction":
                await connection.execute("BEGIN")
            case "failed":
                with pytest.raises(psycopg.errors.DivisionByZero):
                    await connection.execute("BEGIN; SELECT 1/0")
            case "broken":
                connection.pgconn.finish()
            case "in mid-query":
                connection.pgconn.send_query(b"SELECT pg_sleep(0.01)")
            case _:
                await connection.execute("SET TimeZone = 'Asia/Tokyo'")
        await connection.close()
        assert source.state.idle == source.state.lent == 0
        await connection.close()  # a second time changes nothing
        fresh = await source.borrow(keys[0])
        assert fresh is not connection
        await fresh.close()


async def test_a_connection_that_has_grown_old_is_closed_when_it_comes_back_under_load_too(
    pooler: ScratchPooler, keys: list[Key]
) -> None:
    async with lending(pooler, limit=1, age_s=0.05) as source:
        old = await source.borrow(keys[0])
        await soon(lambda: time_of(source) - old.born > 0.05, what="it is old")
        waiter = waiting_for(source, keys[0])
        await soon(lambda: source.state.waiting == 1, what="somebody waits for it")
        await old.close()
        young = await waiter
        assert old.closed
        assert young is not old
        await young.close()


def time_of(_source: ConnectionSource) -> float:
    return asyncio.get_running_loop().time()  # the clock of time.monotonic, as the source's


async def test_an_opening_that_fails_frees_its_place_for_who_waits(pooler: ScratchPooler, keys: list[Key]) -> None:
    async with lending(pooler, limit=1) as source:
        nowhere = Key("no_such_database", keys[0].login)
        attempts = [waiting_for(source, nowhere) for _ in range(3)]
        served = waiting_for(source, keys[0])
        outcomes = await asyncio.gather(*attempts, return_exceptions=True)
        assert all(isinstance(outcome, psycopg.OperationalError) for outcome in outcomes)
        await (await served).close()


async def test_an_opening_that_is_cancelled_goes_on_and_serves_who_waits(
    pooler: ScratchPooler, keys: list[Key]
) -> None:
    entered, go_on = asyncio.Event(), asyncio.Event()

    async def held_up(key: Key) -> LentConnection:
        entered.set()
        await go_on.wait()
        return await opener(pooler)(key)

    async with lending(pooler, limit=1, opened=held_up) as source:
        opening, same, other = (waiting_for(source, key) for key in (keys[0], keys[0], keys[1]))
        await entered.wait()
        await soon(lambda: source.state.waiting == 2, what="two wait")
        opening.cancel()
        await soon(opening.done, what="its borrower is gone")
        assert source.state.lent == 1  # half open is not free
        go_on.set()
        await (await same).close()
        await (await other).close()
        assert source.state.most == 1


async def test_a_source_that_is_closed_keeps_nothing_that_comes_back(pooler: ScratchPooler, keys: list[Key]) -> None:
    async with lending(pooler) as source:
        lent, idle = await source.borrow(keys[0]), await source.borrow(keys[1])
        await idle.close()
        await source.close()
        assert idle.closed
        assert not lent.closed
        await lent.close()
        assert lent.closed
        assert source.state.idle == 0


async def test_idle_ones_of_one_database_are_closed_and_others_stay(pooler: ScratchPooler, keys: list[Key]) -> None:
    async with lending(pooler, limit=3) as source:
        lent = [await source.borrow(key) for key in (keys[0], keys[0], keys[1])]
        for connection in lent:
            await connection.close()
        assert source.close_idle(keys[0]) == 2
        assert source.close_idle(keys[0]) == 0
        assert [connection.closed for connection in lent] == [True, True, False]


@pytest.mark.parametrize("seed", range(6))
async def test_the_cap_holds_and_nothing_is_lost_in_any_order_of_events(
    pooler: ScratchPooler, keys: list[Key], seed: int
) -> None:
    """Many borrowers at once; cancelled while they wait, while they open, in mid-query; breaking what they borrowed."""
    dice = random.Random(seed)
    limit = dice.choice((1, 2, 5))
    opening = 0

    async def counted(key: Key) -> LentConnection:
        nonlocal opening
        opening += 1
        try:
            return await opener(pooler)(key)
        finally:
            opening -= 1

    async def borrower(source: ConnectionSource) -> None:
        for _ in range(12):
            connection = await source.borrow(dice.choice(keys))
            try:
                state = source.state
                assert state.lent + state.idle <= limit
                assert connection.lent
                match dice.randrange(7):
                    case 0:
                        connection.pgconn.finish()
                    case 1:
                        await connection.execute("BEGIN")
                    case 2:
                        await connection.execute("SELECT pg_sleep(0.005)")
                    case 3:
                        await asyncio.sleep(0)
                    case _:
                        await process_of(connection)
            finally:
                await connection.close()

    async def canceller(borrowers: list[asyncio.Task[None]]) -> None:
        while not all(task.done() for task in borrowers):
            await asyncio.sleep(dice.random() * 0.01)
            dice.choice(borrowers).cancel()

    most_seen = most_cancels = 0

    async def watcher(borrowers: list[asyncio.Task[None]]) -> None:
        nonlocal most_seen, most_cancels
        while not all(task.done() for task in borrowers):
            clients, cancels = await asyncio.to_thread(pooler.clients_and_cancels)
            most_seen, most_cancels = max(most_seen, clients), max(most_cancels, cancels)

    async with lending(pooler, limit=limit, age_s=dice.choice((0.02, LONG_S)), opened=counted) as source:
        borrowers = [asyncio.ensure_future(borrower(source)) for _ in range(25)]
        await asyncio.gather(canceller(borrowers), watcher(borrowers))
        await asyncio.wait(borrowers)
        failed = [task.exception() for task in borrowers if not task.cancelled()]
        assert [error for error in failed if error is not None] == []
        await soon(lambda: opening == 0, what="nothing is half open")
        assert source.state.most <= limit
        # What was closed a moment ago, or is on its way out of SHOW CLIENTS, may still be on PgBouncer's list.
        assert 0 < most_seen <= 2 * limit
        # Whoever is cancelled in mid-query asks over a connection more, and keeps its own until that is answered.
        assert most_cancels <= 2 * limit
        await (await source.borrow(keys[0])).close()
