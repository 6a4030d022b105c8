"""Who may call: keys and their scopes, roles, and what is answered to strangers."""

from __future__ import annotations

import httpx
import pytest

from control_plane.domain.ids import new_id
from control_plane.domain.route import Role
from tests.tenant_app.house import TenantUnderTest

ALL = [
    ("GET", "/api/me"),
    ("PATCH", "/api/me"),
    ("POST", "/api/logout"),
    ("GET", "/api/sessions"),
    ("DELETE", "/api/sessions/{id}"),
    ("GET", "/api/users"),
    ("POST", "/api/users"),
    ("GET", "/api/users/{id}"),
    ("PATCH", "/api/users/{id}"),
    ("DELETE", "/api/users/{id}"),
    ("GET", "/api/conversations"),
    ("POST", "/api/conversations"),
    ("GET", "/api/conversations/{id}"),
    ("PATCH", "/api/conversations/{id}"),
    ("DELETE", "/api/conversations/{id}"),
    ("GET", "/api/conversations/{id}/messages"),
    ("POST", "/api/conversations/{id}/messages"),
    ("GET", "/api/conversations/{id}/messages/{id}"),
    ("PATCH", "/api/conversations/{id}/messages/{id}"),
    ("DELETE", "/api/conversations/{id}/messages/{id}"),
]
BODIES: dict[str, dict[str, str]] = {
    "/api/me": {"name": "New"},
    "/api/users": {"email": "new@example.com", "name": "New"},
    "/api/users/{id}": {"name": "New"},
    "/api/conversations": {"subject": "New"},
    "/api/conversations/{id}": {"subject": "New"},
    "/api/conversations/{id}/messages": {"body": "New"},
    "/api/conversations/{id}/messages/{id}": {"body": "New"},
}
WITH_ID = [(method, path) for method, path in ALL if "{id}" in path]


async def call(client: httpx.AsyncClient, method: str, path: str, row_id: str) -> httpx.Response:
    body = BODIES.get(path) if method in {"POST", "PATCH"} else None
    return await client.request(method, path.replace("{id}", row_id), json=body)


@pytest.mark.parametrize(("method", "path"), ALL)
async def test_nobody_gets_in_without_a_credential(tenant: TenantUnderTest, method: str, path: str) -> None:
    answer = await call(tenant.client(), method, path, str(new_id()))
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


async def test_a_stranger_is_refused_before_the_home_is_touched(tenant: TenantUnderTest, statements: list[str]) -> None:
    await tenant.client().get("/api/conversations")
    await tenant.by_key(scopes=("write",)).get("/api/conversations")
    assert statements == []


async def test_a_key_acts_as_a_service_user_of_its_name_and_role(tenant: TenantUnderTest) -> None:
    me = (await tenant.by_key(Role.ADMIN).get("/api/me")).json()
    assert (me["name"], me["role"], me["kind"], me["email"]) == ("a key of admin", "admin", "service", None)


async def test_a_key_that_only_reads_leaves_no_user_behind(tenant: TenantUnderTest) -> None:
    by_key = tenant.by_key()
    await by_key.get("/api/conversations")
    assert [row["kind"] for row in (await by_key.get("/api/users")).json()["items"]] == ["person"]


async def test_a_key_that_writes_is_recorded_once(tenant: TenantUnderTest) -> None:
    by_key = tenant.by_key()
    first = (await by_key.post("/api/conversations", json={"subject": "One"})).json()
    second = (await by_key.post("/api/conversations", json={"subject": "Two"})).json()
    me = (await by_key.get("/api/me")).json()
    assert first["created_by"] == second["created_by"] == me["id"]
    recorded = (await by_key.get(f"/api/users/{me['id']}")).json()
    assert (recorded["kind"], recorded["name"], recorded["role"]) == ("service", "a key of member", "member")


@pytest.mark.parametrize(
    ("scopes", "reads", "writes"),
    [((), 200, 201), (("read",), 200, 403), (("write",), 403, 201), (("read", "write"), 200, 201), (("x",), 403, 403)],
)
async def test_a_key_does_what_its_scopes_allow(
    tenant: TenantUnderTest, scopes: tuple[str, ...], reads: int, writes: int
) -> None:
    by_key = tenant.by_key(scopes=scopes)
    assert (await by_key.get("/api/conversations")).status_code == reads
    assert (await by_key.post("/api/conversations", json={"subject": "S"})).status_code == writes


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/users"),
        ("PATCH", "/api/users/{id}"),
        ("DELETE", "/api/users/{id}"),
        ("DELETE", "/api/conversations/{id}"),
    ],
)
async def test_a_member_may_not_do_what_is_for_admins(tenant: TenantUnderTest, method: str, path: str) -> None:
    answer = await call(tenant.by_key(), method, path, str(new_id()))
    assert (answer.status_code, answer.json()["code"]) == (403, "role_too_low")


@pytest.mark.parametrize(("method", "path"), WITH_ID)
async def test_foreign_unknown_and_impossible_ids_are_answered_alike(
    tenant: TenantUnderTest, other: TenantUnderTest, method: str, path: str
) -> None:
    theirs = await other.signed_in()
    begun = (await theirs.post("/api/conversations", json={"subject": "Theirs"})).json()
    said = (await theirs.post(f"/api/conversations/{begun['id']}/messages", json={"body": "Theirs"})).json()
    session = (await theirs.get("/api/sessions")).json()["items"][0]
    foreign = {"sessions": session["id"], "users": str(other.owner_id), "messages": said["id"]}
    row_id = next((row_id for noun, row_id in foreign.items() if f"/{noun}/" in path), begun["id"])

    caller = await tenant.signed_in()
    answers = [await call(caller, method, path, each) for each in (row_id, str(new_id()), "not-an-id", row_id[:-1])]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.text for answer in answers}) == 1
    assert (await theirs.get(f"/api/conversations/{begun['id']}")).json() == begun
    assert (await theirs.get("/api/me")).status_code == 200
