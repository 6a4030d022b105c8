"""Who rules whom, and that somebody always does."""

from __future__ import annotations

import asyncio
from uuid import UUID

import httpx
import pytest

from control_plane.domain.ids import new_id
from control_plane.domain.route import Role
from tests.tenant_app.house import OWNER_EMAIL, PASSWORD, TenantUnderTest

NEW = {"email": "New.One@Example.com", "name": "New One"}


async def id_of(client: httpx.AsyncClient) -> str:
    return str((await client.get("/api/me")).json()["id"])


async def test_an_admin_makes_users(tenant: TenantUnderTest) -> None:
    admin = tenant.by_key(Role.ADMIN)
    answer = await admin.post("/api/users", json=NEW)
    made = answer.json()
    assert answer.status_code == 201
    assert {name: made[name] for name in ("email", "name", "role", "kind", "disabled_at")} == {
        "email": "new.one@example.com",
        "name": "New One",
        "role": "member",
        "kind": "person",
        "disabled_at": None,
    }
    assert (await admin.get(f"/api/users/{made['id']}")).json() == made
    assert UUID(made["id"]).version == 7


async def test_an_address_is_one_users_whatever_its_letters(tenant: TenantUnderTest, other: TenantUnderTest) -> None:
    admin = tenant.by_key(Role.ADMIN)
    await admin.post("/api/users", json=NEW)
    answer = await admin.post("/api/users", json={**NEW, "email": "NEW.ONE@example.com"})
    assert (answer.status_code, answer.json()["code"]) == (409, "email_taken")
    assert (await other.by_key(Role.ADMIN).post("/api/users", json=NEW)).status_code == 201


@pytest.mark.parametrize(
    ("by", "role", "status"), [("admin", "owner", 403), ("admin", "admin", 201), ("owner", "owner", 201)]
)
async def test_nobody_grants_a_role_above_their_own(tenant: TenantUnderTest, by: str, role: str, status: int) -> None:
    maker = tenant.by_key(Role(by))
    assert (await maker.post("/api/users", json={**NEW, "role": role})).status_code == status
    member = (await maker.post("/api/users", json={"email": "m@example.com", "name": "M"})).json()
    granted = await maker.patch(f"/api/users/{member['id']}", json={"role": role})
    assert granted.status_code == (200 if status == 201 else 403)


@pytest.mark.parametrize("wanted", [{"role": "member"}, {"name": "Renamed"}, {"disabled": True}])
async def test_nobody_changes_those_above_them(tenant: TenantUnderTest, wanted: dict[str, object]) -> None:
    await tenant.person("owner", "second@example.com")
    admin = await tenant.person("admin", "admin@example.com")
    answer = await admin.patch(f"/api/users/{tenant.owner_id}", json=wanted)
    assert (answer.status_code, answer.json()["code"]) == (403, "role_above_yours")
    assert (await admin.delete(f"/api/users/{tenant.owner_id}")).status_code == 403
    assert (await tenant.signed_in()).is_closed is False


async def test_a_changed_role_counts_at_once(tenant: TenantUnderTest) -> None:
    owner, member = await tenant.signed_in(), await tenant.person("member", "m@example.com")
    assert (await member.post("/api/users", json=NEW)).status_code == 403
    promoted = await owner.patch(f"/api/users/{await id_of(member)}", json={"role": "admin", "name": "Mia"})
    assert (promoted.status_code, promoted.json()["role"], promoted.json()["name"]) == (200, "admin", "Mia")
    assert (await member.post("/api/users", json=NEW)).status_code == 201


async def test_disabling_ends_sessions_and_what_was_said_stays(tenant: TenantUnderTest) -> None:
    owner, member = await tenant.signed_in(), await tenant.person("member", "m@example.com")
    begun = (await member.post("/api/conversations", json={"subject": "Mine"})).json()
    user_id = await id_of(member)
    assert (await owner.delete(f"/api/users/{user_id}")).status_code == 204
    assert (await owner.delete(f"/api/users/{user_id}")).status_code == 204
    assert (await member.get("/api/me")).status_code == 401
    assert (await owner.get(f"/api/users/{user_id}")).json()["disabled_at"] is not None
    assert (await owner.get(f"/api/conversations/{begun['id']}")).status_code == 200


async def test_who_is_let_in_again_has_to_sign_in_anew(tenant: TenantUnderTest) -> None:
    owner, member = await tenant.signed_in(), await tenant.person("member", "m@example.com")
    user_id = await id_of(member)
    await owner.delete(f"/api/users/{user_id}")
    answer = await owner.patch(f"/api/users/{user_id}", json={"disabled": False})
    assert (answer.status_code, answer.json()["disabled_at"]) == (200, None)
    assert (await member.get("/api/me")).status_code == 401
    assert (await (await tenant.signed_in("m@example.com")).get("/api/me")).status_code == 200


@pytest.mark.parametrize("wanted", [{"role": "admin"}, {"disabled": True}])
async def test_the_last_owner_stays(tenant: TenantUnderTest, wanted: dict[str, object]) -> None:
    by_key = tenant.by_key(Role.OWNER)
    await by_key.post("/api/conversations", json={"subject": "Records the key's service user, an owner by role"})
    await by_key.post("/api/users", json={**NEW, "role": "owner"})
    second = (await by_key.get("/api/users")).json()["items"][-1]["id"]
    await by_key.delete(f"/api/users/{second}")
    answer = await by_key.patch(f"/api/users/{tenant.owner_id}", json=wanted)
    assert (answer.status_code, answer.json()["code"]) == (409, "last_owner")
    assert (await by_key.delete(f"/api/users/{tenant.owner_id}")).status_code == 409
    assert (await by_key.patch(f"/api/users/{tenant.owner_id}", json={"role": "owner", "name": "O"})).status_code == 200


async def test_two_owners_who_demote_each_other_at_once_leave_one(tenant: TenantUnderTest) -> None:
    first, second = await tenant.signed_in(), await tenant.person("owner", "second@example.com")
    pairs = [(first, await id_of(second)), (second, await id_of(first))]
    answers = await asyncio.gather(*(who.patch(f"/api/users/{whom}", json={"role": "member"}) for who, whom in pairs))
    assert sorted(answer.status_code for answer in answers) in ([200, 403], [200, 409])
    users = (await tenant.by_key().get("/api/users")).json()["items"]
    assert sorted(user["role"] for user in users if user["kind"] == "person") == ["member", "owner"]


async def test_a_service_user_is_its_keys_affair(tenant: TenantUnderTest) -> None:
    by_key = tenant.by_key()
    await by_key.post("/api/conversations", json={"subject": "S"})
    answer = await (await tenant.signed_in()).patch(f"/api/users/{await id_of(by_key)}", json={"role": "owner"})
    assert (answer.status_code, answer.json()["code"]) == (409, "service_user")


async def test_one_changes_ones_password_by_showing_the_current_one(tenant: TenantUnderTest) -> None:
    here, there = await tenant.signed_in(), await tenant.signed_in()
    new = "another long password"
    for wrong in ({"password": new}, {"password": new, "current_password": "wrong"}):
        answer = await here.patch("/api/me", json=wrong)
        assert (answer.status_code, answer.json()["code"]) == (403, "password_wrong")
    assert (await here.patch("/api/me", json={"current_password": PASSWORD})).status_code == 422
    assert (await here.patch("/api/me", json={"password": new, "current_password": PASSWORD})).status_code == 200
    assert (await here.get("/api/me")).status_code == 200
    assert (await there.get("/api/me")).status_code == 401
    assert (
        await tenant.client().post("/api/login", json={"email": OWNER_EMAIL, "password": PASSWORD})
    ).status_code == 401
    await tenant.signed_in(password=new)


async def test_a_first_password_needs_no_current_one(tenant: TenantUnderTest) -> None:
    made = (await tenant.by_key(Role.ADMIN).post("/api/users", json=NEW)).json()
    client = tenant.client()
    await client.get("/api/enter", params={"ticket": tenant.ticket(UUID(made["id"]))})
    assert (await client.patch("/api/me", json={"password": PASSWORD, "name": "Named"})).json()["name"] == "Named"
    await tenant.signed_in(made["email"])


async def test_a_key_has_no_self_to_change(tenant: TenantUnderTest) -> None:
    answer = await tenant.by_key(Role.OWNER).patch("/api/me", json={"name": "X"})
    assert (answer.status_code, answer.json()["code"]) == (403, "persons_only")


async def test_users_are_listed_oldest_first_page_by_page(tenant: TenantUnderTest) -> None:
    admin = tenant.by_key(Role.ADMIN)
    made = [
        (await admin.post("/api/users", json={"email": f"{n}@example.com", "name": "N"})).json()["id"] for n in range(4)
    ]
    seen, after = [], None
    while True:
        params = {"limit": 2, **({"after": after} if after else {})}
        page = (await admin.get("/api/users", params=params)).json()
        seen += [user["id"] for user in page["items"]]
        after = page["next"]
        if after is None:
            break
        assert len(page["items"]) == 2
    assert seen == [str(tenant.owner_id), *made]


@pytest.mark.parametrize(
    "bad",
    [
        {"email": "no address"},
        {"email": "a@b"},
        {"email": "x" * 250 + "@example.com"},
        {"name": " "},
        {"name": "n" * 201},
        {"name": "a\0b"},
        {"name": "line\nbreak"},
        {"role": "emperor"},
        {"password": "short"},
        {"password": "p" * 201},
        {"id": str(new_id())},
        {"kind": "service"},
    ],
)
async def test_a_bad_user_is_refused_and_nothing_is_made(tenant: TenantUnderTest, bad: dict[str, str]) -> None:
    admin = tenant.by_key(Role.ADMIN)
    answer = await admin.post("/api/users", json={**NEW, **bad})
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [f"body.{next(iter(bad))}"]
    assert len((await admin.get("/api/users")).json()["items"]) == 1
