"""A key's users row is written once a process, and written again wherever it is not there after all."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from control_plane.domain.ids import new_id
from tenant_app import recording
from tenant_app.caller import Caller
from tenant_app.recording import remember_once_committed
from tests.tenant_app.house import TenantUnderTest

NEW = {"subject": "S"}


def forget_rows(tenant: TenantUnderTest) -> None:
    """Bring back a state of the home from before anybody wrote by a key."""
    with tenant.house.builder.admin(tenant.house.database) as admin:
        for table in ("messages", "conversations"):
            admin.execute(f"DELETE FROM {table} WHERE tenant_id = %s".encode(), [tenant.route.tenant_id])
        gone = admin.execute("DELETE FROM users WHERE tenant_id = %s AND kind = 'service'", [tenant.route.tenant_id])
        assert gone.rowcount > 0


async def test_the_second_write_of_a_key_takes_one_statement_less(
    tenant: TenantUnderTest, statements: list[str]
) -> None:
    by_key, another = tenant.by_key(), tenant.by_key()
    counts = []
    for client in (by_key, by_key, another, another):
        statements.clear()
        assert (await client.post("/api/conversations", json=NEW)).status_code == 201
        counts.append(len(statements))
    assert counts == [2, 1, 2, 1]


async def test_what_was_not_committed_is_not_remembered(tenant: TenantUnderTest) -> None:
    by_key = tenant.by_key()
    assert (await by_key.post(f"/api/conversations/{new_id()}/messages", json={"body": "B"})).status_code == 404
    assert (await by_key.post("/api/conversations", json=NEW)).status_code == 201


@pytest.mark.parametrize("noun", ["conversations", "messages"])
async def test_where_an_older_state_is_brought_back_the_next_try_succeeds(tenant: TenantUnderTest, noun: str) -> None:
    by_key, person = tenant.by_key(), await tenant.signed_in()
    assert (await by_key.post("/api/conversations", json=NEW)).status_code == 201
    forget_rows(tenant)
    there = (await person.post("/api/conversations", json=NEW)).json()["id"]
    path, what = {
        "conversations": ("/api/conversations", NEW),
        "messages": (f"/api/conversations/{there}/messages", {"body": "B"}),
    }[noun]
    refused = await by_key.post(path, json=what)
    assert (refused.status_code, refused.json()["code"]) == (503, "row_gone")
    assert int(refused.headers["Retry-After"]) > 0
    assert (await by_key.post(path, json=what)).status_code == 201


async def test_a_row_of_one_tenant_is_none_of_anothers(tenant: TenantUnderTest, other: TenantUnderTest) -> None:
    by_key, their_key = tenant.by_key(), other.key()
    same = replace(other.route.keys[-1], id=tenant.route.keys[-1].id)
    other.house.roll.put(replace(other.route, keys=(same,)))
    assert (await by_key.post("/api/conversations", json=NEW)).status_code == 201
    theirs = other.client(headers={"Authorization": f"Bearer {their_key}"})
    assert (await theirs.post("/api/conversations", json=NEW)).status_code == 201


async def test_another_broken_reference_is_no_reason_to_try_again(
    tenant: TenantUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = await tenant.signed_in()

    async def nobody(*_: object) -> UUID:
        return new_id()

    monkeypatch.setattr(Caller, "recorded", nobody)
    answer = await person.post("/api/conversations", json=NEW)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")


async def test_what_is_remembered_is_bounded(
    tenant: TenantUnderTest, other: TenantUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "TENANTS_MAX", 1)
    monkeypatch.setattr(recording, "USERS_MAX", 2)
    for each in (tenant, other, other, other):
        assert (await each.by_key().post("/api/conversations", json=NEW)).status_code == 201
    assert {whose: len(users) for whose, users in recording._known.items()} == {other.route.tenant_id: 1}


@pytest.mark.parametrize("kept", [True, False])
async def test_the_end_of_a_savepoint_is_no_commit(tenant: TenantUnderTest, kept: bool) -> None:
    user_id, before = new_id(), recording._known.get(tenant.route.tenant_id, set()).copy()
    async with tenant.house.road.enter(tenant.route.tenant_id) as session:
        savepoint = await session.begin_nested()
        remember_once_committed(session, user_id)
        await (savepoint.commit() if kept else savepoint.rollback())
        assert recording._known.get(tenant.route.tenant_id, set()) == before
    assert (user_id in recording._known.get(tenant.route.tenant_id, set())) is kept
