"""A visit is one transaction: what it costs, how it ends, and what becomes of its connection."""

from __future__ import annotations

import asyncio
import contextlib
import re
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.domain.errors import ConflictError, InvalidError
from control_plane.domain.ids import new_id
from control_plane.routing.connections import ConnectionSource
from control_plane.routing.refusals import BrokenTransactionError, HomeDownError, TooSlowError
from control_plane.routing.road import Road
from tests.platform_under_test import TenantUnderTest
from tests.routing.hands import who
from tests.routing.roads import road_over, soon
from tests.routing.scratch import ScratchPooler

INSERT = text(
    "INSERT INTO conversations (tenant_id, id, subject, created_by)"
    " SELECT tenant_id, :id, 'here', id FROM users LIMIT 1"
)
EXISTS = text("SELECT count(*) FROM conversations WHERE id = :id")


@pytest.fixture
async def road(pooler: ScratchPooler) -> AsyncIterator[Road]:
    async with road_over(pooler.platform, pooler.settings, client_connections=1, connection_wait_s=30) as road:
        yield road


async def kept(road: Road, tenant: TenantUnderTest, row: UUID) -> bool:
    async with road.enter(tenant.id) as session:
        return bool((await session.execute(EXISTS, {"id": row})).scalar_one())


def messages_of(source: ConnectionSource, trace: str) -> list[str]:
    """What the client has sent, a message an entry, without the values."""
    sent = [line.split("\t") for line in trace.splitlines() if line.startswith("F")]
    return [re.sub(r"'[^']*'|[0-9]+", "…", "".join(part[2:]).strip()) for part in sent]


async def test_a_visit_costs_one_message_to_begin_one_a_statement_and_one_to_commit(
    road: Road, pool_tenant: TenantUnderTest
) -> None:
    assert await who(road, pool_tenant)
    (connection,) = road.source._idle.values()
    with tempfile.TemporaryFile("w+") as trace:
        connection.pgconn.trace(trace.fileno())
        connection.pgconn.set_trace_flags(1)
        async with road.enter(pool_tenant.id) as session:
            await session.execute(text("SELECT CAST(:x AS int)"), {"x": 1})
            await session.execute(text("SELECT CAST(:x AS int)"), {"x": 2})
        connection.pgconn.untrace()
        trace.seek(0)
        sent = messages_of(road.source, trace.read())
    statement = ["Parse", "Bind", "Describe", "Execute", "Sync"]
    assert [message.split(" ")[0].split('"')[0].strip() for message in sent] == [
        "Query",
        *statement,
        *statement,
        "Query",
    ]
    assert sent[0].startswith('Query "BEGIN; SET LOCAL statement_timeout')
    assert "search_path" not in sent[0].partition("SELECT")[0]
    assert "tenancy.enter(…)" in sent[0]
    assert sent[-1] == 'Query "COMMIT"'


async def test_what_a_visit_writes_is_there_after_it(road: Road, pool_tenant: TenantUnderTest) -> None:
    row = new_id()
    async with road.enter(pool_tenant.id) as session:
        await session.execute(INSERT, {"id": row})
        assert road.source.state.lent == 1
    assert road.source.state.lent == 0
    assert await kept(road, pool_tenant, row)


async def test_an_error_in_a_visit_undoes_it_and_leaves_it_as_it_is(road: Road, pool_tenant: TenantUnderTest) -> None:
    row = new_id()

    async def fail() -> None:
        async with road.enter(pool_tenant.id) as session:
            await session.execute(INSERT, {"id": row})
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await fail()
    assert not await kept(road, pool_tenant, row)
    assert road.source.state.most == 1  # the same connection, given back whole


async def test_a_drivers_error_leaves_a_visit_as_ours_and_without_values(
    road: Road, pool_tenant: TenantUnderTest
) -> None:
    async def run(statement: str) -> None:
        async with road.enter(pool_tenant.id) as session:
            await session.execute(text(statement))

    row = (
        "INSERT INTO users (tenant_id, id, name, role, kind)"
        " SELECT tenant_id, {}, {}, role, 'service' FROM users LIMIT 1"
    )
    for statement, error in (
        (row.format("id", "'secret'"), ConflictError),
        (row.format("gen_random_uuid()", "''"), InvalidError),
        (row.format("gen_random_uuid()", "repeat('secret', 100)"), InvalidError),
        (row.format("gen_random_uuid()", "NULL"), InvalidError),
    ):
        with pytest.raises(error) as refused:
            await run(statement)
        assert "secret" not in str(refused.value) + str(refused.value.facts)
    with pytest.raises(DBAPIError):
        await run("SELECT no_such_function()")


async def hanging(road: Road, tenant: TenantUnderTest, row: UUID, at: asyncio.Event, statement: str | None) -> None:
    async with road.enter(tenant.id) as session:
        await session.execute(INSERT, {"id": row})
        at.set()
        if statement is None:
            await asyncio.Event().wait()
        else:
            await session.execute(text(statement))


def runs(tenant: TenantUnderTest, pattern: str) -> bool:
    """Whether the server is running a statement like that."""
    with tenant.platform.home_of(tenant) as superuser:
        found = "SELECT FROM pg_stat_activity WHERE state = 'active' AND query ~ %s AND pid <> pg_backend_pid()"
        return superuser.execute(found, [pattern]).rowcount > 0


@pytest.mark.parametrize("statement", [None, "SELECT pg_sleep(3600)"], ids=["between statements", "in mid-query"])
async def test_a_cancelled_visit_is_undone_and_its_place_is_free(
    road: Road, pool_tenant: TenantUnderTest, statement: str | None
) -> None:
    for _ in range(3):
        row, at = new_id(), asyncio.Event()
        visit = asyncio.ensure_future(hanging(road, pool_tenant, row, at, statement))
        await at.wait()
        if statement is not None:
            # A cancel that overtakes its query is lost: that is how PostgreSQL's protocol is.
            await soon(lambda: runs(pool_tenant, r"pg_sleep\(3600\)"), what="it is in mid-query")
        visit.cancel()
        with pytest.raises(asyncio.CancelledError):
            await visit
        await soon(lambda: road.source.state.lent == 0, what="it has come back")
        assert not await kept(road, pool_tenant, row)


@pytest.mark.slow
async def test_a_statement_whose_client_is_gone_ends_though_its_time_out_was_lifted(
    pooler: ScratchPooler, pool_tenant: TenantUnderTest
) -> None:
    """An API process that is killed sends no cancel. The server itself looks whether anybody is still there."""
    row, at = new_id(), asyncio.Event()
    endless = "SET LOCAL statement_timeout = 0; LOCK TABLE conversations; SELECT pg_sleep(3601)"
    async with road_over(pooler.platform, pooler.settings, client_connections=1) as road:
        visit = asyncio.ensure_future(hanging(road, pool_tenant, row, at, endless))
        await soon(lambda: runs(pool_tenant, r"pg_sleep\(3601\)"), what="it runs and locks everybody out")
        pooler.kill()
        with pytest.raises(HomeDownError):
            await visit
        pooler.start()
        await soon(lambda: not runs(pool_tenant, r"pg_sleep\(3601\)"), what="it has ended")
        await soon_served(road, pool_tenant)
    assert at.is_set()


async def soon_served(road: Road, tenant: TenantUnderTest) -> None:
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(HomeDownError):
                assert await who(road, tenant)
                return
            await asyncio.sleep(0.02)


async def test_visits_cancelled_at_any_moment_lose_nothing(road: Road, pool_tenant: TenantUnderTest) -> None:
    """Before a connection is had, while it opens, during the first message, within, while it commits."""
    for steps in range(40):
        visit = asyncio.ensure_future(who(road, pool_tenant))
        for _ in range(steps):
            await asyncio.sleep(0)
        visit.cancel()
        await asyncio.gather(visit, return_exceptions=True)
        await soon(lambda: road.source.state.lent == 0, what="it has come back")
    assert await who(road, pool_tenant)
    assert road.source.state.most == 1


async def test_the_very_first_visit_of_a_process_may_be_cancelled(
    pooler: ScratchPooler, pool_tenant: TenantUnderTest
) -> None:
    """The driver's first connection asks the server for its version and more."""
    for steps in range(0, 60, 3):
        async with road_over(pooler.platform, pooler.settings, client_connections=1) as road:
            visit = asyncio.ensure_future(who(road, pool_tenant))
            for _ in range(steps):
                await asyncio.sleep(0)
            visit.cancel()
            await asyncio.gather(visit, return_exceptions=True)
            assert await who(road, pool_tenant)


@pytest.mark.parametrize("statement", [None, "SELECT pg_sleep(3600)"], ids=["between statements", "in mid-query"])
async def test_a_visit_that_takes_too_long_is_ended_and_undone(
    pooler: ScratchPooler, pool_tenant: TenantUnderTest, statement: str | None
) -> None:
    row = new_id()
    async with road_over(pooler.platform, pooler.settings, transaction_timeout_s=0.2) as road:
        with pytest.raises(TooSlowError):
            await hanging(road, pool_tenant, row, asyncio.Event(), statement)
        assert road.source.state.lent == 0
        assert not await kept(road, pool_tenant, row)


@pytest.fixture
def slow_commit(pool_tenant: TenantUnderTest) -> Iterator[Callable[[], None]]:
    """Whoever has written a conversation waits at COMMIT until this is called."""
    with pool_tenant.platform.home_of(pool_tenant) as superuser, pool_tenant.platform.home_of(pool_tenant) as holder:
        superuser.execute(
            "CREATE FUNCTION waits() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS"
            " 'BEGIN PERFORM pg_advisory_xact_lock_shared(7707); RETURN NULL; END'"
        )
        superuser.execute(
            "CREATE CONSTRAINT TRIGGER waits AFTER INSERT ON conversations DEFERRABLE INITIALLY DEFERRED"
            " FOR EACH ROW EXECUTE FUNCTION waits()"
        )
        holder.execute("SELECT pg_advisory_lock(7707)")
        try:
            yield lambda: [holder.execute("SELECT pg_advisory_unlock(7707)")].clear()
        finally:
            holder.execute("SELECT pg_advisory_unlock_all()")
            superuser.execute("DROP FUNCTION waits() CASCADE")


@pytest.mark.parametrize("end", ["cancelled", "too long"])
async def test_a_commit_that_has_begun_is_waited_for_and_told_as_it_ends(
    pooler: ScratchPooler, pool_tenant: TenantUnderTest, slow_commit: Callable[[], None], end: str
) -> None:
    """Whoever is told that he was refused may believe that nothing was kept."""
    row = new_id()

    async def write(road: Road) -> str:
        async with road.enter(pool_tenant.id) as session:
            await session.execute(INSERT, {"id": row})
        return "kept"

    life_s = 0.5 if end == "too long" else 30.0
    async with road_over(pooler.platform, pooler.settings, transaction_timeout_s=life_s) as road:
        visit = asyncio.ensure_future(write(road))
        await soon(lambda: runs(pool_tenant, "^COMMIT"), what="it commits")
        if end == "cancelled":
            for _ in range(3):
                visit.cancel()
                await asyncio.sleep(0)
        else:
            await soon(lambda: bool(visit.cancelling()) or visit.done(), what="its time is over")
        slow_commit()
        assert await visit == "kept"
        assert await kept(road, pool_tenant, row)


async def test_a_time_out_of_the_handlers_own_stays_one(road: Road, pool_tenant: TenantUnderTest) -> None:
    async def handle() -> None:
        async with road.enter(pool_tenant.id), asyncio.timeout(0.01):
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await handle()
    assert road.source.state.lent == 0


async def test_a_statement_that_takes_too_long_is_stopped_by_the_server(
    pooler: ScratchPooler, pool_tenant: TenantUnderTest
) -> None:
    async def handle(road: Road) -> None:
        async with road.enter(pool_tenant.id) as session:
            await session.execute(text("SELECT pg_sleep(3600)"))

    async with road_over(pooler.platform, pooler.settings, statement_timeout_s=0.05) as road:
        with pytest.raises(TooSlowError):
            await handle(road)


async def test_a_connection_that_dies_in_a_visit_is_an_answer_and_the_next_visit_gets_another(
    road: Road, pool_tenant: TenantUnderTest
) -> None:
    async def handle(session: AsyncSession) -> None:
        process = (await session.execute(text("SELECT pg_backend_pid()"))).scalar_one()
        with pool_tenant.platform.home_of(pool_tenant) as superuser:
            superuser.execute("SELECT pg_terminate_backend(%s, 5000)", [process])
        await session.execute(text("SELECT 1"))

    async def die() -> None:
        async with road.enter(pool_tenant.id) as session:
            await handle(session)

    with pytest.raises(HomeDownError):
        await die()
    assert road.source.state.lent == 0
    assert await who(road, pool_tenant)


async def test_a_commit_that_would_keep_nothing_is_no_success(road: Road, pool_tenant: TenantUnderTest) -> None:
    row = new_id()

    async def swallow() -> None:
        async with road.enter(pool_tenant.id) as session:
            await session.execute(INSERT, {"id": row})
            with pytest.raises(DBAPIError):
                await session.execute(text("SELECT 1/0"))

    with pytest.raises(BrokenTransactionError):
        await swallow()
    assert not await kept(road, pool_tenant, row)


async def test_a_savepoint_is_how_a_handler_survives_an_error(road: Road, pool_tenant: TenantUnderTest) -> None:
    row = new_id()

    async def try_it(session: AsyncSession) -> None:
        async with session.begin_nested():
            await session.execute(text("SELECT 1/0"))

    async with road.enter(pool_tenant.id) as session:
        await session.execute(INSERT, {"id": row})
        with pytest.raises(DBAPIError):
            await try_it(session)
    assert await kept(road, pool_tenant, row)
