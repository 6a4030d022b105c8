"""One server connection, many tenants in turn through a real PgBouncer, with every kind of trouble in between."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import text

from control_plane.routing.refusals import TooSlowError
from control_plane.routing.road import Road, begin_message
from tests.attacks.burglar import Pair, home_of, token_for
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest
from tests.routing.roads import road_over
from tests.routing.scratch import ScratchPooler, scratch_pooler

CLIENTS, VISITS_EACH, TENANTS = 12, 40, 5
SEED = 4711
Client = psycopg.AsyncConnection[Any]


@pytest.fixture(scope="module")
def narrow(platform: PlatformUnderTest) -> Iterator[ScratchPooler]:
    """A pooler with one server connection a database."""
    with scratch_pooler(platform, pool_size=1) as pooler:
        yield pooler


@pytest.fixture(scope="module")
def tenants(platform: PlatformUnderTest, pool: Pair) -> list[TenantUnderTest]:
    """Who takes turns, all in the pool."""
    return [pool.thief, pool.prey, *(platform.tenant("pool") for _ in range(TENANTS - 2))]


@dataclass
class Turns:
    """Visits by many clients, and what was seen in them."""

    pooler: ScratchPooler
    dice: random.Random
    processes: Counter[int] = field(default_factory=Counter)
    troubles: Counter[str] = field(default_factory=Counter)

    async def connect(self, tenant: TenantUnderTest) -> Client:
        home = home_of(tenant)
        return await psycopg.AsyncConnection.connect(
            host=str(self.pooler.folder),
            port=self.pooler.port,
            dbname=home.alias,
            user=home.login,
            autocommit=True,
            prepare_threshold=None,
        )

    async def enter(self, client: Client, tenant: TenantUnderTest) -> None:
        message = begin_message(token_for(tenant), home_of(tenant).schema, 15)
        await client.execute(message.encode())

    async def look(self, client: Client, tenant: TenantUnderTest) -> None:
        """The heart of the test: it is this tenant's turn, and nobody else's rows are here."""
        cursor = await client.execute("SELECT tenancy.current_tenant(), pg_backend_pid()")
        ((who, process),) = await cursor.fetchall()
        assert who == tenant.id
        self.processes[process] += 1
        for table in ("users", "conversations", "messages"):
            cursor = await client.execute(f"SELECT DISTINCT tenant_id FROM {table}".encode())
            assert {owner for (owner,) in await cursor.fetchall()} <= {tenant.id}

    async def nobody_is_there(self, client: Client) -> None:
        """A transaction without an entry finds no context, whoever was there before."""
        await client.execute("BEGIN")
        with pytest.raises(psycopg.Error) as refused:
            await client.execute("SELECT tenancy.current_tenant()")
        assert refused.value.sqlstate == "CH008"
        await client.execute("ROLLBACK")


Trouble = Callable[[Turns, Client, TenantUnderTest], Awaitable[None]]


async def none(_turns: Turns, client: Client, _tenant: TenantUnderTest) -> None:
    await client.execute("COMMIT")


async def rollback(_turns: Turns, client: Client, _tenant: TenantUnderTest) -> None:
    await client.execute("ROLLBACK")


async def sql_error(_turns: Turns, client: Client, _tenant: TenantUnderTest) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero):
        await client.execute("SELECT 1/0")
    await client.execute("COMMIT")  # of a failed transaction: a rollback


async def statement_timeout(_turns: Turns, client: Client, _tenant: TenantUnderTest) -> None:
    await client.execute("SET LOCAL statement_timeout = 3")
    with pytest.raises(psycopg.errors.QueryCanceled):
        await client.execute("SELECT pg_sleep(60)")
    await client.execute("ROLLBACK")


async def client_cancel(_turns: Turns, client: Client, _tenant: TenantUnderTest) -> None:
    sleeping = asyncio.ensure_future(client.execute("SELECT pg_sleep(60)"))
    await asyncio.sleep(0)  # it is sent
    while not sleeping.done():
        await client.cancel_safe()
        await asyncio.wait([sleeping], timeout=0.05)
    with pytest.raises(psycopg.errors.QueryCanceled):
        sleeping.result()
    await client.execute("ROLLBACK")


async def settings_left(_turns: Turns, client: Client, _tenant: TenantUnderTest) -> None:
    await client.execute("SELECT set_config('tenancy.context', current_setting('tenancy.context'), false)")
    await client.execute("DECLARE spy CURSOR WITH HOLD FOR SELECT * FROM messages")
    await client.execute("SET SESSION search_path = pg_temp")
    await client.execute("SET SESSION row_security = off")
    await client.execute("COMMIT")


async def nothing_entered_next(turns: Turns, client: Client, _tenant: TenantUnderTest) -> None:
    await client.execute("COMMIT")
    await turns.nobody_is_there(client)


async def expired_next(_turns: Turns, client: Client, tenant: TenantUnderTest) -> None:
    await client.execute("COMMIT")
    late = begin_message(token_for(tenant, life_s=-1), home_of(tenant).schema, 15)
    with pytest.raises(psycopg.Error) as refused:
        await client.execute(late.encode())
    assert refused.value.sqlstate == "CH002"
    await client.execute("ROLLBACK")


async def disconnect(_turns: Turns, client: Client, _tenant: TenantUnderTest) -> None:
    client.pgconn.finish()


async def disconnect_in_mid_query(_turns: Turns, client: Client, _tenant: TenantUnderTest) -> None:
    client.pgconn.send_query(b"SELECT pg_sleep(0.02)")
    client.pgconn.finish()


KEEPING = (
    none,
    rollback,
    sql_error,
    statement_timeout,
    client_cancel,
    settings_left,
    nothing_entered_next,
    expired_next,
)
LOSING = (disconnect, disconnect_in_mid_query)


async def take_turns(turns: Turns, tenants: list[TenantUnderTest], troubles: tuple[Trouble, ...]) -> None:
    async def client_of_many() -> None:
        client = await turns.connect(tenants[0])
        for _ in range(VISITS_EACH):
            tenant, trouble = turns.dice.choice(tenants), turns.dice.choice(troubles)
            if client.closed:
                client = await turns.connect(tenant)
            await turns.enter(client, tenant)
            await turns.look(client, tenant)
            await trouble(turns, client, tenant)
            turns.troubles[trouble.__name__] += 1
        await client.close()

    async with asyncio.TaskGroup() as clients:
        for _ in range(CLIENTS):
            clients.create_task(client_of_many())


@pytest.mark.slow
async def test_nobody_inherits_a_context_on_the_one_connection_that_all_share(
    narrow: ScratchPooler, tenants: list[TenantUnderTest]
) -> None:
    turns = Turns(pooler=narrow, dice=random.Random(SEED))
    await take_turns(turns, tenants, KEEPING)
    assert sum(turns.troubles.values()) == CLIENTS * VISITS_EACH
    assert set(turns.troubles) == {trouble.__name__ for trouble in KEEPING}
    assert len(turns.processes) == 1, "the control: it was one server process throughout"


@pytest.mark.slow
async def test_nobody_inherits_a_context_when_clients_vanish_in_the_midst(
    narrow: ScratchPooler, tenants: list[TenantUnderTest]
) -> None:
    turns = Turns(pooler=narrow, dice=random.Random(SEED + 1))
    await take_turns(turns, tenants, (*KEEPING, *LOSING))
    lost = sum(turns.troubles[trouble.__name__] for trouble in LOSING)
    assert lost > 20
    # PgBouncer ends a server connection that was left in a transaction; all others are shared.
    assert 1 < len(turns.processes) <= lost + 1
    assert narrow.servers() <= 2  # one of each database that was asked


@pytest.mark.slow
async def test_nobody_inherits_a_context_on_the_road(narrow: ScratchPooler, tenants: list[TenantUnderTest]) -> None:
    """The same with the road's own connections: cancelled requests, errors, visits that take too long."""
    dice, seen = random.Random(SEED + 2), Counter[UUID]()

    async def look(road: Road, tenant: TenantUnderTest, trouble: str) -> None:
        async with road.enter(tenant.id) as session:
            assert (await session.execute(text("SELECT tenancy.current_tenant()"))).scalar_one() == tenant.id
            owners = (await session.execute(text("SELECT DISTINCT tenant_id FROM conversations"))).scalars().all()
            assert set(owners) <= {tenant.id}
            seen[tenant.id] += 1
            if trouble == "error":
                await session.execute(text("SELECT 1/0"))
            if trouble in {"cancel", "slow"}:
                await session.execute(text("SELECT pg_sleep(60)"))

    async def turn(road: Road) -> None:
        for _ in range(20):
            tenant, trouble = dice.choice(tenants), dice.choice(("none", "none", "error", "cancel", "slow"))
            visit = asyncio.ensure_future(look(road, tenant, trouble))
            if trouble == "cancel":
                await asyncio.wait([visit], timeout=dice.random() * 0.05)
                visit.cancel()
            (outcome,) = await asyncio.gather(visit, return_exceptions=True)
            if trouble == "slow":
                assert isinstance(outcome, TooSlowError)
            assert not isinstance(outcome, AssertionError), outcome

    async with (
        road_over(
            narrow.platform,
            narrow.settings,
            client_connections=4,
            connection_wait_s=60,
            statement_timeout_s=0.02,
        ) as road,
        asyncio.TaskGroup() as visitors,
    ):
        for _ in range(8):
            visitors.create_task(turn(road))
    assert set(seen) == {tenant.id for tenant in tenants}
