"""What is sent to the database: few statements, and none that an older revision would not understand."""

from __future__ import annotations

import pytest

from control_plane.domain.route import Role
from control_plane.domain.server import Server
from control_plane.domain.tenant import Model
from tests.tenant_app.house import PASSWORD, House, TenantUnderTest

HOUSES = [(Model.POOL, "0001"), (Model.POOL, "0002"), (Model.BRIDGE, "0001"), (Model.BRIDGE, "0002")]


async def busy_conversation(tenant: TenantUnderTest) -> str:
    by_key = tenant.by_key()
    conversation_id = str((await by_key.post("/api/conversations", json={"subject": "S"})).json()["id"])
    for number in range(60):
        await by_key.post(f"/api/conversations/{conversation_id}/messages", json={"body": str(number)})
    return f"/api/conversations/{conversation_id}/messages"


async def test_reading_the_last_messages_takes_one_statement_by_key_and_two_by_session(
    tenant: TenantUnderTest, statements: list[str]
) -> None:
    path = await busy_conversation(tenant) + "?order=newest&limit=50"
    by_key, by_session = tenant.by_key(), await tenant.signed_in()
    statements.clear()
    assert len((await by_key.get(path)).json()["items"]) == 50
    assert len(statements) == 1
    statements.clear()
    assert len((await by_session.get(path)).json()["items"]) == 50
    assert len(statements) == 2


async def test_every_statement_says_whose_rows_it_means(tenant: TenantUnderTest, statements: list[str]) -> None:
    await tour(tenant)
    assert len(statements) > 30
    assert [statement for statement in statements if "tenant_id" not in statement] == []


@pytest.mark.parametrize(("model", "revision"), HOUSES)
async def test_everything_works_at_each_revision_and_no_statement_names_what_is_new(
    server: Server, statements: list[str], model: Model, revision: str
) -> None:
    house = House.build(server, model, revision)
    await tour(await house.tenant())
    await house.road.close()
    assert len(statements) > 30
    assert [statement for statement in statements if "last_message_at" in statement] == []


async def tour(tenant: TenantUnderTest) -> None:
    """Every operation once, each with success."""
    ok = {200, 201, 204, 303}
    owner, by_key, entering = await tenant.signed_in(), tenant.by_key(Role.OWNER), tenant.client()
    new = {"email": "new@example.com", "name": "New", "password": PASSWORD}
    user = (await owner.post("/api/users", json=new)).json()
    begun = (await by_key.post("/api/conversations", json={"subject": "S"})).json()
    there = f"/api/conversations/{begun['id']}"
    said = (await by_key.post(f"{there}/messages", json={"body": "B"})).json()
    session = (await (await tenant.signed_in()).get("/api/sessions")).json()["items"][0]
    answers = [
        await entering.get("/", headers={}),
        await entering.get("/api/enter", params={"ticket": tenant.ticket(tenant.owner_id)}),
        await owner.get("/api/me"),
        await owner.patch("/api/me", json={"name": "O", "password": PASSWORD, "current_password": PASSWORD}),
        await owner.get("/api/users", params={"limit": 1}),
        await owner.get(f"/api/users/{user['id']}"),
        await owner.patch(f"/api/users/{user['id']}", json={"role": "admin"}),
        await owner.delete(f"/api/users/{user['id']}"),
        await owner.get("/api/conversations", params={"limit": 1}),
        await owner.get(there),
        await owner.patch(there, json={"subject": "T"}),
        await owner.get(f"{there}/messages"),
        await owner.get(f"{there}/messages", params={"order": "newest"}),
        await by_key.get(f"{there}/messages/{said['id']}"),
        await by_key.patch(f"{there}/messages/{said['id']}", json={"body": "C"}),
        await by_key.delete(f"{there}/messages/{said['id']}"),
        await by_key.get(f"{there}/messages"),
        await by_key.delete(there),
    ]
    assert {answer.status_code for answer in answers} <= ok, [answer.text for answer in answers]
    listed = (await owner.get("/api/sessions")).json()["items"]
    assert session["id"] not in {row["id"] for row in listed}
    other = (await tenant.signed_in()).cookies
    assert other
    ended = (await owner.get("/api/sessions")).json()["items"][0]["id"]
    assert (await owner.delete(f"/api/sessions/{ended}")).status_code == 204
    assert (await owner.post("/api/logout")).status_code == 204
