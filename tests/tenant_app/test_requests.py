"""What is not a proper request gets a clear answer; what every answer says."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.tenant_app.house import TenantUnderTest

JSON = {"Content-Type": "application/json"}


async def sent(tenant: TenantUnderTest, content: bytes, headers: dict[str, str]) -> httpx.Response:
    return await tenant.by_key().post("/api/conversations", content=content, headers=headers)


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b'{"subject": "S"}', "text/plain"),
        (b'{"subject": "S"}', "application/x-www-form-urlencoded"),
        (b"subject=S", "application/x-www-form-urlencoded"),
        (b'{"subject": ', "application/json"),
        (b"", "application/json"),
        (b"null", "application/json"),
        (b"[]", "application/json"),
        (b'{"subject": "\\ud800"}', "application/json"),
        (b'{"subject": "a\\u0000b"}', "application/json"),
        (b'{"subject": "S", "created_by": "x"}', "application/json"),
        (b'{"subject": "S", "tenant_id": "x"}', "application/json"),
    ],
)
async def test_what_is_no_json_of_the_right_form_is_refused(
    tenant: TenantUnderTest, content: bytes, content_type: str
) -> None:
    answer = await sent(tenant, content, {"Content-Type": content_type})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("content", [b"\xff\xfe{", b"[" * 100_000, b'{"subject": ' + b"9" * 5_000 + b"}"])
async def test_what_cannot_be_parsed_is_refused(tenant: TenantUnderTest, content: bytes) -> None:
    answer = await sent(tenant, content, JSON)
    assert answer.status_code in {400, 422}
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_body_past_the_limit_is_refused(tenant: TenantUnderTest) -> None:
    limit = tenant.house.road.settings.limits.body_bytes
    answer = await sent(tenant, b'{"subject": "' + b"x" * limit + b'"}', JSON)
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_body_of_unknown_length_past_the_limit_is_refused(tenant: TenantUnderTest) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(tenant.house.road.settings.limits.body_bytes // 1000 + 2):
            yield b"x" * 1000

    answer = await tenant.by_key().post("/api/conversations", content=endless(), headers=JSON)
    assert answer.status_code == 413


async def test_unknown_routes_and_methods_are_problems(tenant: TenantUnderTest) -> None:
    for method, path, status in (("GET", "/api/nothing", 404), ("PUT", "/api/me", 405), ("GET", "/api/users/", 404)):
        answer = await tenant.by_key().request(method, path)
        assert (answer.status_code, answer.json()["status"]) == (status, status)
        assert answer.headers["content-type"] == "application/problem+json"


async def test_the_front_says_whose_app_it_is(tenant: TenantUnderTest) -> None:
    assert (await tenant.client().get("/")).json() == {"app": "inbox", "tenant": tenant.route.slug}


async def test_no_answer_may_be_kept_by_a_cache(tenant: TenantUnderTest) -> None:
    for path in ("/", "/api/conversations", "/api/nothing", "/api/users/x"):
        answer = await tenant.by_key().get(path)
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
