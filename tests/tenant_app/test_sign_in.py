"""Signing in by password and by ticket, being signed in, and signing out."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import update

from control_plane import passwords
from control_plane.domain.ids import new_id
from control_plane.domain.route import Role
from control_plane.domain.server import Server
from control_plane.domain.tenant import Model
from control_plane.routing.credentials import COOKIE
from control_plane.routing.throttle import Throttle
from tenant_app.passwords import AT_ONCE, WAITING_MAX, PasswordQueueError, Passwords
from tenant_app.tables import UserSession
from tests.lasting_counter import LastingCounter
from tests.tenant_app.house import OWNER_EMAIL, PASSWORD, House, TenantUnderTest


async def test_the_right_password_opens_a_session(tenant: TenantUnderTest) -> None:
    client = tenant.client()
    answer = await client.post("/api/login", json={"email": " Olga@Example.COM", "password": PASSWORD})
    assert answer.status_code == 200
    assert answer.json() == (await client.get("/api/me")).json()
    assert answer.json() == {
        "id": str(tenant.owner_id),
        "email": OWNER_EMAIL,
        "name": "Olga",
        "role": "owner",
        "kind": "person",
    }


async def test_the_cookie_is_closed_to_scripts_other_sites_and_other_hosts(tenant: TenantUnderTest) -> None:
    login = {"email": OWNER_EMAIL, "password": PASSWORD}
    plain = (await tenant.client().post("/api/login", json=login)).headers["set-cookie"]
    parts = {part.strip().lower() for part in plain.split(";")}
    assert {"httponly", "samesite=lax", "path=/"} <= parts
    assert not any(part.startswith(("domain", "secure")) for part in parts)
    https = tenant.client(base_url=tenant.url.replace("http:", "https:"))
    assert "secure" in (await https.post("/api/login", json=login)).headers["set-cookie"].lower()


async def test_a_wrong_password_an_unknown_and_a_disabled_account_are_answered_alike(tenant: TenantUnderTest) -> None:
    await tenant.person("member", "gone@example.com")
    admin = await tenant.person("admin", "admin@example.com")
    gone = next(u for u in (await admin.get("/api/users")).json()["items"] if u["email"] == "gone@example.com")
    await admin.delete(f"/api/users/{gone['id']}")
    tries = [(OWNER_EMAIL, "wrong"), ("nobody@example.com", PASSWORD), ("gone@example.com", PASSWORD), ("-@-", "x")]
    answers = [await tenant.client().post("/api/login", json={"email": e, "password": p}) for e, p in tries]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.text for answer in answers}) == 1
    assert not any("set-cookie" in answer.headers for answer in answers)


async def test_an_unknown_account_costs_the_same_work_as_a_wrong_password(
    tenant: TenantUnderTest, statements: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[str | None] = []
    matches = passwords.matches

    def counted(stored: str | None, password: str) -> bool:
        checked.append(stored)
        return matches(stored, password)

    monkeypatch.setattr(passwords, "matches", counted)
    for email in (OWNER_EMAIL, "nobody@example.com"):
        await tenant.client().post("/api/login", json={"email": email, "password": "wrong"})
    assert len(statements) == 2
    assert [stored is None for stored in checked] == [False, True]


async def test_an_account_without_a_password_cannot_be_signed_in_to(tenant: TenantUnderTest) -> None:
    new = {"email": "later@example.com", "name": "Later"}
    assert (await tenant.by_key(Role.ADMIN).post("/api/users", json=new)).status_code == 201
    answer = await tenant.client().post(
        "/api/login", json={"email": "later@example.com", "password": "nobody's password"}
    )
    assert answer.status_code == 401


async def test_an_old_cookie_keeps_nobody_from_signing_in(tenant: TenantUnderTest, other: TenantUnderTest) -> None:
    foreign = (await other.signed_in()).cookies[COOKIE]
    for cookie in (foreign, "nonsense", foreign[:-1] + ("A" if foreign[-1] != "A" else "B")):
        client = tenant.client(headers={"Cookie": f"{COOKIE}={cookie}"})
        assert (await client.get("/api/me")).status_code == 401
        assert (await client.get("/")).status_code == 200
        answer = await client.post("/api/login", json={"email": OWNER_EMAIL, "password": PASSWORD})
        assert answer.status_code == 200


async def test_a_session_of_one_tenant_is_none_of_another(tenant: TenantUnderTest, other: TenantUnderTest) -> None:
    theirs = (await other.signed_in()).cookies[COOKIE]
    answer = await tenant.client(headers={"Cookie": f"{COOKIE}={theirs}"}).get("/api/conversations")
    assert (answer.status_code, answer.json()["code"]) == (401, "session_refused")


async def test_tries_are_limited_for_each_account(server: Server) -> None:
    house = House.build(server, Model.POOL, "0002", logins_per_minute=3)
    tenant, other = await house.tenant(), await house.tenant()
    wrong = {"email": OWNER_EMAIL, "password": "wrong"}
    answers = [await tenant.client().post("/api/login", json=wrong) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [401, 401, 401, 429]
    assert int(answers[-1].headers["Retry-After"]) > 0
    assert (await tenant.client().post("/api/login", json={**wrong, "email": "x@example.com"})).status_code == 401
    assert (await other.client().post("/api/login", json=wrong)).status_code == 401
    await house.road.close()


async def test_tries_are_limited_for_each_client(server: Server) -> None:
    house = House.build(server, Model.POOL, "0002", logins_per_minute=1)
    tenant = await house.tenant()
    logins = [{"email": f"{number}@example.com", "password": "wrong"} for number in range(6)]
    answers = [await tenant.client().post("/api/login", json=login) for login in logins]
    assert [answer.status_code for answer in answers] == [401] * 5 + [429]
    await house.road.close()


async def test_many_at_once_are_served_or_told_to_come_back(tenant: TenantUnderTest) -> None:
    login = {"email": OWNER_EMAIL, "password": PASSWORD}
    answers = await asyncio.gather(*(tenant.client().post("/api/login", json=login) for _ in range(60)))
    assert {answer.status_code for answer in answers} <= {200, 503}
    assert {answer.json()["code"] for answer in answers if answer.status_code == 503} <= {"sign_in_busy"}
    assert tenant.house.road.source.state.most <= 20


async def test_no_more_wait_for_password_work_than_are_allowed_to() -> None:
    passwords = Passwords(Throttle(LastingCounter()), tries_per_minute=1)
    everybody = [passwords.matches("x", None) for _ in range(AT_ONCE + WAITING_MAX + 10)]
    answers = await asyncio.gather(*everybody, return_exceptions=True)
    assert sum(isinstance(answer, PasswordQueueError) for answer in answers) == 10
    assert answers.count(False) == AT_ONCE + WAITING_MAX


async def test_a_ticket_is_good_for_one_session(tenant: TenantUnderTest) -> None:
    ticket = tenant.ticket(tenant.owner_id)
    client = tenant.client()
    answer = await client.get("/api/enter", params={"ticket": ticket})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert (await client.get("/api/me")).json()["id"] == str(tenant.owner_id)
    again = await tenant.client().get("/api/enter", params={"ticket": ticket})
    assert (again.status_code, again.json()["code"]) == (401, "ticket_refused")
    assert "set-cookie" not in again.headers


async def test_of_two_who_show_one_ticket_at_once_one_gets_in(tenant: TenantUnderTest) -> None:
    params = {"ticket": tenant.ticket(tenant.owner_id)}
    answers = await asyncio.gather(*(tenant.client().get("/api/enter", params=params) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [303, 401, 401, 401, 401]


@pytest.mark.parametrize("kind", ["late", "foreign", "forged", "nobody's", "a cookie"])
async def test_any_other_ticket_is_refused(tenant: TenantUnderTest, other: TenantUnderTest, kind: str) -> None:
    good = tenant.ticket(tenant.owner_id)
    ticket = {
        "late": tenant.ticket(tenant.owner_id, life_s=-1),
        "foreign": other.ticket(other.owner_id),
        "forged": good[:-2] + ("AA" if not good.endswith("AA") else "BB"),
        "nobody's": tenant.ticket(new_id()),
        "a cookie": (await tenant.signed_in()).cookies[COOKIE],
    }[kind]
    answer = await tenant.client().get("/api/enter", params={"ticket": ticket})
    assert (answer.status_code, answer.json()["code"]) == (401, "ticket_refused")


async def test_signing_out_ends_the_session_wherever_its_cookie_is(tenant: TenantUnderTest) -> None:
    client = await tenant.signed_in()
    copy = tenant.client(headers={"Cookie": f"{COOKIE}={client.cookies[COOKIE]}"})
    assert (await copy.get("/api/me")).status_code == 200
    assert (await client.post("/api/logout")).status_code == 204
    assert COOKIE not in client.cookies
    assert (await copy.get("/api/me")).json()["code"] == "session_refused"


async def test_a_key_has_nothing_to_sign_out_of(tenant: TenantUnderTest) -> None:
    assert (await tenant.by_key().post("/api/logout")).status_code == 204


async def test_a_session_ends_at_its_time(tenant: TenantUnderTest) -> None:
    client = await tenant.signed_in()
    session_id = (await client.get("/api/sessions")).json()["items"][0]["id"]
    async with tenant.house.road.enter(tenant.route.tenant_id) as session:
        past = datetime.now(UTC) - timedelta(seconds=1)
        await session.execute(
            update(UserSession).where(UserSession.id == UUID(session_id)).values(expires_at=past),
            execution_options={"synchronize_session": False},
        )
    assert (await client.get("/api/me")).json()["code"] == "session_refused"


async def test_one_sees_and_ends_ones_own_sessions(tenant: TenantUnderTest) -> None:
    here, there = await tenant.signed_in(), await tenant.signed_in()
    somebody = await tenant.person("member", "else@example.com")
    listed = (await here.get("/api/sessions")).json()["items"]
    assert [row["current"] for row in listed] == [False, True]
    assert (await somebody.delete(f"/api/sessions/{listed[0]['id']}")).status_code == 404
    assert (await here.delete(f"/api/sessions/{listed[0]['id']}")).status_code == 204
    assert (await here.delete(f"/api/sessions/{listed[0]['id']}")).status_code == 404
    assert (await there.get("/api/me")).status_code == 401
    assert len((await here.get("/api/sessions")).json()["items"]) == 1


async def test_another_sites_page_cannot_use_the_cookie(tenant: TenantUnderTest, other: TenantUnderTest) -> None:
    client = await tenant.signed_in()
    answer = await client.post("/api/conversations", json={"subject": "S"}, headers={"Origin": other.url})
    assert (answer.status_code, answer.json()["code"]) == (403, "cross_origin")
    own = await client.post("/api/conversations", json={"subject": "S"}, headers={"Origin": tenant.url})
    assert own.status_code == 201
