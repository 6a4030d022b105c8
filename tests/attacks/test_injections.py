"""SQL in every field that the inbox takes, and SQL run by a handler that was fooled into it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.routing.refusals import BrokenTransactionError, ContextError
from control_plane.routing.road import Road
from tests.attacks.burglar import Pair, home_of, token_for
from tests.platform_under_test import PlatformUnderTest
from tests.routing.roads import road_over

PAYLOADS = (
    "'; COMMIT; BEGIN; SELECT set_config('tenancy.context', '', false); --",
    "x'); DROP TABLE messages; --",
    "x' OR '1'='1",
    "\\'; SET ROLE postgres; --",
    "${jndi:x}{{7*7}}%s%(x)s:name",
    "$$ LANGUAGE plpgsql; --",
    "E'\\047; --",
)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_sql_in_a_field_is_text(pool: Pair, payload: str) -> None:
    http = pool.thief.http
    made = http.post("/api/conversations", json={"subject": payload})
    assert made.status_code == 201
    path = f"/api/conversations/{made.json()['id']}"
    assert http.get(path).json()["subject"] == payload
    assert http.post(f"{path}/messages", json={"body": payload}).json()["body"] == payload
    assert [message["body"] for message in http.get(f"{path}/messages").json()["items"]] == [payload]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_sql_in_an_address_finds_nothing(pool: Pair, payload: str) -> None:
    for method, path in (("GET", "/api/conversations/{}"), ("DELETE", "/api/users/{}"), ("GET", "/api/conversations")):
        if "{}" in path:
            answer = pool.thief.http.request(method, path.format(payload.replace("/", "").replace("%", "")))
            assert answer.status_code == 404
        else:
            answer = pool.thief.http.request(
                method, path, params={"after": payload, "cursor": payload, "limit": payload}
            )
            assert answer.status_code == 422
    assert pool.prey.http.get("/api/me").status_code == 200


@pytest.fixture
async def road(platform: PlatformUnderTest, pool: Pair) -> AsyncIterator[Road]:
    async with road_over(platform, client_connections=1) as road:
        yield road


async def fooled(session: AsyncSession, wanted: str) -> list[str]:
    """A handler as it must not be written."""
    found = await session.execute(text(f"SELECT subject FROM conversations WHERE subject = '{wanted}'"))
    return list(found.scalars().all()) if found.returns_rows else []


async def test_a_fooled_handler_shows_its_own_tenants_rows_at_most(road: Road, pool: Pair) -> None:
    for payload in (
        "' OR true --",
        f"' OR tenant_id = '{pool.prey.id}' OR '1' = '1",
        "' UNION SELECT body FROM messages --",
    ):
        async with road.enter(pool.thief.id) as session:
            found = await fooled(session, payload)
        assert f"only {pool.thief.slug} knows" in found or "word" in str(found)
        assert pool.prey.slug not in str(found)


@pytest.mark.parametrize("ending", ["COMMIT", "ROLLBACK", "END; BEGIN", "ABORT AND CHAIN"])
async def test_an_injected_end_of_the_transaction_ends_the_context_and_the_visit(
    road: Road, pool: Pair, ending: str
) -> None:
    with pytest.raises(ContextError):
        async with road.enter(pool.thief.id) as session:
            await fooled(session, f"'; {ending}; SELECT subject FROM public.conversations; --")
    async with road.enter(pool.prey.id) as session:
        assert pool.secret in await fooled(session, "' OR true --")


async def test_a_visit_whose_transaction_was_ended_underneath_is_not_reported_as_done(road: Road, pool: Pair) -> None:
    with pytest.raises(BrokenTransactionError):
        async with road.enter(pool.thief.id) as session:
            await fooled(session, "'; ROLLBACK; --")


async def test_a_visit_whose_failed_statement_was_swallowed_is_not_reported_as_done(road: Road, pool: Pair) -> None:
    async def handle() -> None:
        async with road.enter(pool.thief.id) as session:
            with pytest.raises(DBAPIError, match="division"):
                await session.execute(text("SELECT 1/0"))

    with pytest.raises(BrokenTransactionError):
        await handle()


async def test_an_injected_token_of_ones_own_opens_ones_own_rows_again_and_no_others(road: Road, pool: Pair) -> None:
    forged = token_for(pool.thief).replace(str(pool.thief.id), str(pool.prey.id))
    with pytest.raises(ContextError):
        async with road.enter(pool.thief.id) as session:
            await fooled(session, f"'; SELECT tenancy.enter('{forged}'); --")
    async with road.enter(pool.thief.id) as session:
        await fooled(session, f"'; SELECT tenancy.enter('{token_for(pool.thief)}')::text; --")
        assert pool.prey.slug not in str(await fooled(session, "' OR true --"))


async def test_an_injected_search_path_leads_to_no_other_tenants_rows(road: Road, bridge: Pair) -> None:
    async with road.enter(bridge.thief.id) as session:
        await session.execute(text(f"SET search_path = {home_of(bridge.prey).schema}"))
        assert await fooled(session, "' OR true --") == []
    async with road.enter(bridge.prey.id) as session:
        assert bridge.secret in await fooled(session, "' OR true --")
    async with road.enter(bridge.thief.id) as session:
        assert f"only {bridge.thief.slug} knows" in await fooled(session, "' OR true --")
