"""What is not a proper request gets a clear answer; what every answer says."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.control_plane.house import ControlPlane

JSON = {"Content-Type": "application/json"}


async def sent(control_plane: ControlPlane, content: bytes, headers: dict[str, str]) -> httpx.Response:
    return await control_plane.client().post("/signup", content=content, headers=headers)


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded"])
async def test_a_form_of_another_sites_page_is_not_taken_for_json(shared: ControlPlane, content_type: str) -> None:
    answer = await sent(shared, b'{"company": "A"}', {"Content-Type": content_type})
    assert answer.status_code == 422


@pytest.mark.parametrize(
    "content", [b"", b"null", b"[]", b'{"company": ', b"\xff\xfe{", b"[" * 100_000, b'{"company": "\\ud800"}']
)
async def test_what_is_no_json_of_the_right_form_is_refused(shared: ControlPlane, content: bytes) -> None:
    answer = await sent(shared, content, JSON)
    assert answer.status_code in {400, 422}
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_body_past_the_limit_is_refused(shared: ControlPlane) -> None:
    limit = shared.parts.settings.limits.body_bytes
    answer = await sent(shared, b'{"company": "' + b"x" * limit + b'"}', JSON)
    assert (answer.status_code, answer.headers["content-type"]) == (413, "application/problem+json")


async def test_unknown_routes_and_methods_are_problems(shared: ControlPlane) -> None:
    for method, path, status in (("GET", "/nothing", 404), ("GET", "/signup", 405), ("POST", "/healthz", 405)):
        answer = await shared.client().request(method, path)
        assert (answer.status_code, answer.json()["status"]) == (status, status)


async def test_no_answer_may_be_kept_by_a_cache(shared: ControlPlane) -> None:
    for path in ("/healthz", "/metrics", "/nothing", "/admin/me"):
        answer = await shared.client().get(path)
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_password_in_a_refused_form_is_not_echoed(shared: ControlPlane) -> None:
    answer = await shared.client().post("/signup", json={"company": "A", "email": "x", "password": "se cr"})
    assert answer.status_code == 422
    assert "se cr" not in answer.text


async def test_a_body_of_unknown_length_past_the_limit_is_refused(shared: ControlPlane) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(shared.parts.settings.limits.body_bytes // 1000 + 2):
            yield b"x" * 1000

    answer = await shared.client().post("/signup", content=endless(), headers=JSON)
    assert (answer.status_code, answer.headers["content-type"]) == (413, "application/problem+json")
