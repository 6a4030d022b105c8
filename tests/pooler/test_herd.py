"""A herd of 2,000 before 20 server connections: each is served or told to come back, and none is left hanging."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from control_plane.registry.engine import transaction
from control_plane.routing.road import Road
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest, free_port
from tests.pooler import calls
from tests.routing.apis import Api
from tests.routing.hands import outcome
from tests.routing.roads import road_over
from tests.routing.scratch import ScratchPooler, scratch_pooler
from tests.routing.wire import wire_to
from tests.service_user import as_service_user

pytestmark = pytest.mark.slow

HERD = 2000
"""As many clients as the pooler takes."""
MORE = 200
CONNECTIONS = 20
PROCESSES = 3
PLACES = 50
"""Connections that one process may have."""
FEW_LEFT = 10
ALL_DONE_S = 240
"""Nobody is waited for longer: by then the herd hangs."""
SERVED = "served"
CLEAN = {"query_wait_timeout", "no more connections allowed (max_client_conn)"}
"""What the pooler says to those whom it does not serve."""


@pytest.fixture(scope="module")
def pooler(platform: PlatformUnderTest) -> Iterator[ScratchPooler]:
    """A pooler of the test's own with the platform's configuration."""
    with scratch_pooler(platform, pool_size=CONNECTIONS) as pooler:
        yield pooler


async def visit(pooler: ScratchPooler, start: asyncio.Event) -> str:
    """One client's transaction; what came of it."""
    await start.wait()
    try:
        connection = await psycopg.AsyncConnection.connect(
            host=str(pooler.folder), port=pooler.port, dbname="pool_1", user="pool_1", prepare_threshold=None
        )
        try:
            await connection.execute("SELECT pg_sleep(0.01)")
            await connection.commit()
        finally:
            await connection.close()
    except psycopg.OperationalError as error:
        return str(error).strip().rpartition("FATAL:")[2].strip()
    return SERVED


async def test_clients_of_the_pooler_are_served_or_refused(pooler: ScratchPooler) -> None:
    start, most = asyncio.Event(), 0
    herd = [asyncio.ensure_future(visit(pooler, start)) for _ in range(HERD + MORE)]
    start.set()
    async with asyncio.timeout(ALL_DONE_S):
        while not all(client.done() for client in herd):
            most = max(most, await asyncio.to_thread(pooler.servers))
            await asyncio.sleep(0.2)
    outcomes = Counter(client.result() for client in herd)
    assert outcomes.keys() <= CLEAN | {SERVED}, outcomes
    assert outcomes[SERVED] >= HERD // 2, outcomes
    assert 1 < most <= CONNECTIONS
    assert await visit(pooler, start) == SERVED


@contextmanager
def few_connections(platform: PlatformUnderTest) -> Iterator[None]:
    """Pool and bridge of the platform have CONNECTIONS server connections each."""
    resize = text("UPDATE servers SET connections = :connections WHERE name = 'alpha'")

    def set_to(connections: int) -> None:
        with transaction(platform.engine) as session:
            session.execute(resize, {"connections": connections})
        as_service_user(platform.data, calls.apply, platform.settings)

    before = platform.server("alpha").connections
    with transaction(platform.engine) as session:
        shared = session.execute(text("SELECT count(*) FROM databases WHERE server = 'alpha'")).scalar_one()
    set_to(CONNECTIONS * shared)
    try:
        yield
    finally:
        set_to(before)


async def request(tenant: TenantUnderTest, port: int, start: asyncio.Event) -> tuple[int, bool]:
    """The status of one request on a connection of its own, and whether the answer says when to come back."""
    await start.wait()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        head = f"GET /api/conversations HTTP/1.1\r\nHost: {tenant.host}\r\nAuthorization: Bearer {tenant.key}\r\n\r\n"
        writer.write(head.encode())
        answer = (await reader.readuntil(b"\r\n\r\n")).lower()
        return int(answer.split()[1]), b"\r\nretry-after: " in answer
    finally:
        writer.close()


@contextmanager
def several_processes(platform: PlatformUnderTest, folder: Path) -> Iterator[list[int]]:
    """The ports of the platform's API process and of as many more as make PROCESSES."""
    with ExitStack() as stack:
        wire, ports = stack.enter_context(wire_to(platform.settings.control_dsn)), [platform.port]
        for number in range(1, PROCESSES):
            place = folder / str(number)
            place.mkdir()
            api = Api(platform=platform, wire=wire, snapshot=place / "roll.json", port=free_port())
            stack.enter_context(api.running())
            ports.append(api.port)
        yield ports


async def test_requests_to_several_processes_are_served_or_told_to_come_back(
    platform: PlatformUnderTest, pool_tenant: TenantUnderTest, tmp_path: Path
) -> None:
    log = platform.data / "logs" / "alpha.log"
    before = log.stat().st_size
    with few_connections(platform), several_processes(platform, tmp_path) as ports:
        sizes = as_service_user(platform.data, calls.console, platform.settings, "SHOW DATABASES")
        assert {row["pool_size"] for row in sizes if row["name"] == "pool_1"} == {CONNECTIONS}
        start = asyncio.Event()
        herd = [asyncio.ensure_future(request(pool_tenant, ports[number % PROCESSES], start)) for number in range(HERD)]
        start.set()
        async with asyncio.timeout(ALL_DONE_S):
            outcomes = Counter(await asyncio.gather(*herd))
        assert outcomes.keys() <= {(200, False), (503, True)}, outcomes
        assert outcomes[200, False] > 0, outcomes
        assert [await request(pool_tenant, port, start) for port in ports] == [(200, False)] * PROCESSES
    assert b"too many clients" not in log.read_bytes()[before:]


async def test_processes_that_together_want_more_than_the_pooler_takes_are_told_that_it_is_busy(
    platform: PlatformUnderTest, pool_tenant: TenantUnderTest, bridge_tenant: TenantUnderTest
) -> None:
    async def visits(road: Road) -> Counter[str]:
        herd = [outcome(road, (pool_tenant, bridge_tenant)[number % 2]) for number in range(5 * PLACES)]
        return Counter(await asyncio.gather(*herd))

    with scratch_pooler(platform, pool_size=CONNECTIONS, max_clients=PLACES + FEW_LEFT) as small:
        limits: dict[str, Any] = {"client_connections": PLACES}
        one, two = (road_over(platform, small.settings, **limits) for _ in range(2))
        async with one as first, two as second:
            assert await visits(first) == {SERVED: 5 * PLACES}
            held = first.source.state.idle
            assert held > FEW_LEFT, "it keeps what it had"
            found = await visits(second)
            assert found.keys() == {SERVED, "busy"}, found
            assert small.clients() <= PLACES + FEW_LEFT
            first.source.close_idle()
            assert await visits(second) == {SERVED: 5 * PLACES}
