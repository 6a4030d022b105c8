"""Staff: tokens, sessions, roles."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from control_plane.domain.errors import UnauthenticatedError
from control_plane.registry.engine import transaction
from control_plane.registry.tables import AuditRow, StaffTokenRow
from control_plane.staff import service
from control_plane.staff.roles import StaffRole, UnknownStaffRoleError, parse_staff_role
from control_plane.staff.service import Shown, StaffExistsError, StaffRefusedError
from tests.control_plane.conftest import MakeDatabase
from tests.control_plane.house import PASSWORD, ControlPlane, control_plane_on

READS = ("tenants", "servers", "homes", "migrations", "fleet", "processes", "audit", "me")
CHANGES: tuple[tuple[str, str, Any], ...] = (
    ("POST", "/admin/tenants", {"name": "Acme", "plan": "starter", "model": "pool"}),
    ("PUT", "/admin/tenants/nobody/plan", {"plan": "starter"}),
    ("PUT", "/admin/tenants/nobody/labels", {"labels": []}),
    ("POST", "/admin/tenants/nobody/suspend", None),
    ("POST", "/admin/tenants/nobody/resume", None),
    ("POST", "/admin/tenants/nobody/keys", {"name": "K"}),
    ("DELETE", "/admin/keys/00000000-0000-7000-8000-000000000000", None),
    ("PUT", "/admin/servers/nowhere/status", {"status": "active"}),
    ("POST", "/admin/servers", {"name": "gamma", "host": "db", "admin": "keeper", "password": "p", "models": ["silo"]}),
    ("DELETE", "/admin/servers/nowhere", None),
)


@pytest.mark.parametrize("read", READS)
async def test_without_a_credential_nothing_is_told(shared: ControlPlane, read: str) -> None:
    answer = await shared.client().get(f"/admin/{read}")
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
async def test_without_a_credential_nothing_is_changed(shared: ControlPlane, method: str, path: str, body: Any) -> None:
    assert (await shared.client().request(method, path, json=body)).status_code == 401


@pytest.mark.parametrize("read", READS)
async def test_support_reads(shared: ControlPlane, read: str) -> None:
    assert (await shared.staff(StaffRole.SUPPORT).get(f"/admin/{read}")).status_code == 200


@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
async def test_support_changes_nothing(shared: ControlPlane, method: str, path: str, body: Any) -> None:
    answer = await shared.staff(StaffRole.SUPPORT).request(method, path, json=body)
    assert (answer.status_code, answer.json()["code"]) == (403, "role_too_low")


async def test_the_role_is_asked_before_the_body_is_looked_at(shared: ControlPlane) -> None:
    answer = await shared.staff(StaffRole.SUPPORT).post("/admin/tenants", json={"nonsense": 1})
    assert answer.status_code == 403
    assert (await shared.client().post("/admin/tenants", json={"nonsense": 1})).status_code == 401


async def test_only_an_admin_makes_staff(shared: ControlPlane) -> None:
    new = {"email": "Newcomer@Example.com", "role": "ops", "password": "a good password"}
    for role in (StaffRole.SUPPORT, StaffRole.OPS):
        assert (await shared.staff(role).post("/admin/staff", json=new)).status_code == 403
        assert (await shared.staff(role).get("/admin/staff")).status_code == 403
    admin = shared.staff()
    answer = await admin.post("/admin/staff", json=new)
    assert answer.status_code == 201
    token = answer.json()["token"]
    me = await shared.client(headers={"Authorization": f"Bearer {token}"}).get("/admin/me")
    assert (me.json()["email"], me.json()["role"]) == ("newcomer@example.com", "ops")
    signed_in = await shared.client().post("/admin/login", json={"email": new["email"], "password": new["password"]})
    assert signed_in.status_code == 200
    listed = (await admin.get("/admin/staff")).json()["items"]
    assert "newcomer@example.com" in {person["email"] for person in listed}
    assert not {"password_hash", "token"} & set(listed[0])
    again = await admin.post("/admin/staff", json=new)
    assert (again.status_code, again.json()["code"]) == (409, "staff_exists")


async def test_tokens_that_are_none_are_refused(shared: ControlPlane) -> None:
    genuine = shared.staff_token()
    changed = genuine[:-1] + ("A" if genuine[-1] != "A" else "B")
    for shown in (changed, genuine[4:], genuine + "A", "chs_", "ch_x", "x" * 5000):
        answer = await shared.client(headers={"Authorization": f"Bearer {shown}"}).get("/admin/me")
        assert (answer.status_code, answer.json()["code"]) == (401, "staff_refused"), shown


async def test_an_authorization_of_another_scheme_is_none(shared: ControlPlane) -> None:
    answer = await shared.client(headers={"Authorization": "Basic eDp5"}).get("/admin/me")
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


async def test_a_token_is_kept_as_its_hash_and_ends_with_its_life(fresh: ControlPlane) -> None:
    with transaction(fresh.engine) as session:
        member = service.add(session, email="a@example.com", role=StaffRole.OPS, actor="test")
        living = service.issue_token(session, member, actor="test")
        late = service.issue_token(session, member, actor="test", life=timedelta(seconds=-1))
        kept = session.scalars(select(StaffTokenRow.secret_sha256)).all()
    assert living.startswith("chs_")
    assert len(living) == 4 + 43
    assert living not in kept
    with transaction(fresh.engine) as session:
        assert service.authenticate(session, Shown.TOKEN, living) == member
        with pytest.raises(StaffRefusedError):
            service.authenticate(session, Shown.TOKEN, late)


async def test_a_token_is_no_session_and_a_session_no_token(shared: ControlPlane) -> None:
    browser = await shared.signed_in()
    secret = browser.cookies["copyhold_staff"]
    for shown in (secret, f"chs_{secret}"):
        answer = await shared.client(headers={"Authorization": f"Bearer {shown}"}).get("/admin/me")
        assert answer.status_code == 401
    token = shared.staff_token()
    for shown in (token, token[4:]):
        assert (await shared.client(cookies={"copyhold_staff": shown}).get("/admin/me")).status_code == 401


async def test_a_session_begins_with_a_cookie_and_ends_with_logout(shared: ControlPlane) -> None:
    browser = await shared.signed_in(StaffRole.OPS)
    secret = browser.cookies["copyhold_staff"]
    me = await browser.get("/admin/me")
    assert (me.status_code, me.json()["role"]) == (200, "ops")
    gone = await browser.post("/admin/logout")
    assert gone.status_code == 204
    assert "copyhold_staff" not in browser.cookies
    assert (await shared.client(cookies={"copyhold_staff": secret}).get("/admin/me")).status_code == 401


async def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(shared: ControlPlane) -> None:
    shared.staff_token(email="cookie@example.com")
    login = {"email": "cookie@example.com", "password": PASSWORD}
    plain = await shared.client().post("/admin/login", json=login)
    flags = {part.strip().lower() for part in plain.headers["set-cookie"].split(";")[1:]}
    assert {"httponly", "samesite=strict", "path=/"} <= flags
    assert not any(flag.startswith("domain") for flag in flags)
    assert "secure" not in flags
    tls = await shared.client(base_url="https://localhost").post("/admin/login", json=login)
    assert "secure" in tls.headers["set-cookie"].lower()


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://acme.localhost:8080"},
        {"Origin": "http://localhost:9090"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
async def test_another_sites_page_cannot_use_the_cookie_to_change_things(
    shared: ControlPlane, headers: dict[str, str]
) -> None:
    browser = await shared.signed_in()
    answer = await browser.post("/admin/tenants/nobody/suspend", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "cross_origin")
    login = {"email": "nobody@example.com", "password": PASSWORD}
    assert (await shared.client().post("/admin/login", json=login, headers=headers)).status_code == 403


async def test_the_own_pages_can(shared: ControlPlane) -> None:
    browser = await shared.signed_in()
    for headers in ({"Origin": "http://localhost:8080"}, {"Sec-Fetch-Site": "same-origin"}, {}):
        answer = await browser.post("/admin/tenants/nobody/suspend", headers=headers)
        assert answer.status_code == 404


async def test_a_wrong_password_an_unknown_address_and_none_set_are_answered_alike(shared: ControlPlane) -> None:
    shared.staff_token(email="known@example.com")
    with transaction(shared.engine) as session:
        service.add(session, email="tokenonly@example.com", role=StaffRole.OPS, actor="test")
    tries = [("known@example.com", "wrong"), ("unknown@example.com", PASSWORD), ("tokenonly@example.com", PASSWORD)]
    answers = [
        await shared.client().post("/admin/login", json={"email": email, "password": password})
        for email, password in tries
    ]
    assert {(answer.status_code, answer.text) for answer in answers} == {(401, answers[0].text)}
    assert answers[0].json()["code"] == "login_refused"


async def test_a_password_that_changed_while_it_was_checked_begins_nothing(fresh: ControlPlane) -> None:
    fresh.staff_token(email="a@example.com")
    with transaction(fresh.engine) as session:
        found = service.account(session, "a@example.com")
    assert found is not None
    with transaction(fresh.engine) as session, pytest.raises(UnauthenticatedError):
        service.begin_session(session, service.Account(staff_id=found.staff_id, password_hash="of yesterday"))


async def test_tries_at_one_account_are_throttled(make_database: MakeDatabase) -> None:
    async with control_plane_on(make_database(), logins_per_minute=2) as control_plane:
        login = {"email": "a@example.com", "password": PASSWORD}
        answers = [await control_plane.client().post("/admin/login", json=login) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [401, 401, 429]


async def test_what_staff_do_about_staff_is_in_the_audit_log(fresh: ControlPlane) -> None:
    browser = await fresh.signed_in()
    await browser.post("/admin/staff", json={"email": "new@example.com"})
    await browser.post("/admin/logout")
    with transaction(fresh.engine) as session:
        rows = session.scalars(select(AuditRow).order_by(AuditRow.id)).all()
    assert [row.action for row in rows][2:] == ["staff.login", "staff.add", "staff.token", "staff.logout"]
    assert rows[-1].actor == rows[2].actor == rows[3].actor
    assert PASSWORD not in str([row.facts for row in rows])


async def test_nobody_is_added_twice(fresh: ControlPlane) -> None:
    with transaction(fresh.engine) as session:
        service.add(session, email="a@example.com", role=StaffRole.OPS, actor="test")
    with pytest.raises(StaffExistsError), transaction(fresh.engine) as session:
        service.add(session, email=" A@example.com", role=StaffRole.OPS, actor="test")


def test_roles_contain_each_other() -> None:
    assert [wanted for wanted in StaffRole if StaffRole.OPS.allows(wanted)] == [StaffRole.SUPPORT, StaffRole.OPS]
    assert parse_staff_role("admin") is StaffRole.ADMIN
    with pytest.raises(UnknownStaffRoleError):
        parse_staff_role("root")
