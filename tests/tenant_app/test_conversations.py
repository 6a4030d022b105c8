"""Conversations and messages: said, listed, changed and taken back."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from control_plane.domain.route import Role
from tests.tenant_app.house import TenantUnderTest


async def begun(client: httpx.AsyncClient, subject: str = "Subject") -> str:
    answer = await client.post("/api/conversations", json={"subject": subject})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def said(client: httpx.AsyncClient, conversation_id: str, body: str) -> dict[str, Any]:
    answer = await client.post(f"/api/conversations/{conversation_id}/messages", json={"body": body})
    assert answer.status_code == 201, answer.text
    message: dict[str, Any] = answer.json()
    return message


async def pages(client: httpx.AsyncClient, path: str, **params: str | int) -> list[list[dict[str, Any]]]:
    found: list[list[dict[str, Any]]] = []
    while True:
        page = (await client.get(path, params=params)).json()
        found.append(page["items"])
        if page["next"] is None:
            return found
        params = {**params, "after": page["next"]}


async def test_a_conversation_is_begun_renamed_and_deleted_with_what_was_said(tenant: TenantUnderTest) -> None:
    member, admin = tenant.by_key(), tenant.by_key(Role.ADMIN)
    conversation_id = await begun(member, "  Invoice  ")
    path = f"/api/conversations/{conversation_id}"
    message = await said(member, conversation_id, "Where is it?")
    assert (await member.get(path)).json()["subject"] == "Invoice"
    assert (await member.patch(path, json={"subject": "Invoice 7"})).json()["subject"] == "Invoice 7"
    assert (await member.patch(path, json={})).json()["subject"] == "Invoice 7"
    assert (await member.delete(path)).status_code == 403
    assert (await admin.delete(path)).status_code == 204
    for gone in (path, f"{path}/messages", f"{path}/messages/{message['id']}"):
        assert (await member.get(gone)).status_code == 404
    assert (await admin.delete(path)).status_code == 404


async def test_conversations_are_listed_newest_first_page_by_page(tenant: TenantUnderTest) -> None:
    member = tenant.by_key()
    ids = [await begun(member, f"Number {number}") for number in range(5)]
    found = await pages(member, "/api/conversations", limit=2)
    assert [len(page) for page in found] == [2, 2, 2]
    assert [row["id"] for page in found for row in page][:5] == ids[::-1]
    assert found[-1][-1]["subject"] == "Welcome"


async def test_messages_are_read_from_either_end(tenant: TenantUnderTest) -> None:
    member = tenant.by_key()
    conversation_id = await begun(member)
    ids = [(await said(member, conversation_id, f"Number {number}"))["id"] for number in range(5)]
    path = f"/api/conversations/{conversation_id}/messages"
    oldest = await pages(member, path, limit=2)
    assert [[row["id"] for row in page] for page in oldest] == [ids[:2], ids[2:4], ids[4:]]
    newest = await pages(member, path, limit=3, order="newest")
    assert [row["id"] for page in newest for row in page] == ids[::-1]


async def test_a_list_that_fills_its_last_page_ends_there(tenant: TenantUnderTest) -> None:
    member = tenant.by_key()
    conversation_id = await begun(member)
    for _ in range(4):
        await said(member, conversation_id, "x")
    assert [len(page) for page in await pages(member, f"/api/conversations/{conversation_id}/messages", limit=2)] == [
        2,
        2,
    ]


async def test_an_empty_conversation_and_none_are_told_apart(tenant: TenantUnderTest) -> None:
    member = tenant.by_key()
    conversation_id = await begun(member)
    answer = await member.get(f"/api/conversations/{conversation_id}/messages")
    assert (answer.status_code, answer.json()) == (200, {"items": [], "next": None})


async def test_a_cursor_is_good_for_its_list_alone(tenant: TenantUnderTest) -> None:
    member = tenant.by_key()
    first, second = await begun(member), await begun(member)
    for conversation_id in (first, second):
        await said(member, conversation_id, "x")
        await said(member, conversation_id, "y")
    cursor = (await member.get(f"/api/conversations/{first}/messages?limit=1")).json()["next"]
    for path in (
        f"/api/conversations/{second}/messages?after={cursor}",
        f"/api/conversations/{first}/messages?order=newest&after={cursor}",
        f"/api/conversations?after={cursor}",
        f"/api/conversations/{first}/messages?after={cursor[:-1]}",
        f"/api/conversations/{first}/messages?after=%00",
    ):
        answer = await member.get(path)
        assert (answer.status_code, answer.json()["code"]) == (422, "cursor_invalid"), path


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "limit=", "order=random", "after=" + "x" * 201])
async def test_a_list_asked_for_badly_is_refused(tenant: TenantUnderTest, query: str) -> None:
    member = tenant.by_key()
    answer = await member.get(f"/api/conversations/{await begun(member)}/messages?{query}")
    assert answer.status_code == 422


async def test_only_its_author_changes_a_message(tenant: TenantUnderTest) -> None:
    author, admin = await tenant.person("member", "m@example.com"), await tenant.person("admin", "a@example.com")
    conversation_id = await begun(author)
    message = await said(author, conversation_id, "Frist")
    path = f"/api/conversations/{conversation_id}/messages/{message['id']}"
    for somebody_else in (admin, tenant.by_key(Role.OWNER)):
        answer = await somebody_else.patch(path, json={"body": "Other"})
        assert (answer.status_code, answer.json()["code"]) == (403, "not_yours")
    assert (await author.patch(path, json={"body": "First"})).json() == {**message, "body": "First"}
    assert (await admin.get(path)).json()["body"] == "First"


async def test_a_message_is_taken_back_by_its_author_or_an_admin(tenant: TenantUnderTest) -> None:
    author, member = await tenant.person("member", "m@example.com"), tenant.by_key()
    conversation_id = await begun(author)
    first, second = await said(author, conversation_id, "1"), await said(author, conversation_id, "2")
    path = f"/api/conversations/{conversation_id}/messages/"
    assert (await member.delete(path + first["id"])).json()["code"] == "not_yours"
    assert (await author.delete(path + first["id"])).status_code == 204
    assert (await tenant.by_key(Role.ADMIN).delete(path + second["id"])).status_code == 204
    assert (await author.get(path + first["id"])).status_code == 404
    assert (await author.delete(path + first["id"])).status_code == 404


async def test_a_message_is_found_in_its_own_conversation_only(tenant: TenantUnderTest) -> None:
    member = tenant.by_key()
    first, second = await begun(member), await begun(member)
    message = await said(member, first, "x")
    assert (await member.get(f"/api/conversations/{first}/messages/{message['id']}")).status_code == 200
    path = f"/api/conversations/{second}/messages/{message['id']}"
    assert (await member.get(path)).status_code == 404
    assert (await member.patch(path, json={"body": "y"})).status_code == 404
    assert (await member.delete(path)).status_code == 404


async def test_what_is_said_while_a_conversation_is_deleted_is_said_before_or_refused(tenant: TenantUnderTest) -> None:
    member, admin = tenant.by_key(), tenant.by_key(Role.ADMIN)
    conversation_id = await begun(member)
    path = f"/api/conversations/{conversation_id}"
    said_at_once = [member.post(f"{path}/messages", json={"body": str(number)}) for number in range(10)]
    answers = await asyncio.gather(*said_at_once[:5], admin.delete(path), *said_at_once[5:])
    assert answers[5].status_code == 204
    assert {answer.status_code for answer in answers[:5] + answers[6:]} <= {201, 404}
    assert (await member.get(f"{path}/messages")).status_code == 404


@pytest.mark.parametrize("body", ["", "   \n", "a\0b", "x" * 20_001, None, 7, ["x"]])
async def test_a_bad_message_is_refused(tenant: TenantUnderTest, body: object) -> None:
    member = tenant.by_key()
    conversation_id = await begun(member)
    answer = await member.post(f"/api/conversations/{conversation_id}/messages", json={"body": body})
    assert answer.status_code == 422
    assert (await member.get(f"/api/conversations/{conversation_id}/messages")).json()["items"] == []


async def test_a_message_keeps_its_text_as_it_was_sent(tenant: TenantUnderTest) -> None:
    member = tenant.by_key()
    conversation_id = await begun(member)
    for text in ("  two\nlines\t", "ünïcödé 🙂 \u202e", "'; DROP TABLE messages; --", "x" * 20_000):
        assert (await said(member, conversation_id, text))["body"] == text


async def test_one_tenant_sees_nothing_of_another(tenant: TenantUnderTest, other: TenantUnderTest) -> None:
    await begun(other.by_key(), "Secret")
    for path in ("/api/conversations", "/api/users"):
        mine = (await tenant.by_key().get(path)).json()["items"]
        theirs = (await other.by_key().get(path)).json()["items"]
        assert mine
        assert not {row["id"] for row in mine} & {row["id"] for row in theirs}
