"""Signing up over HTTP."""

from __future__ import annotations

import asyncio
import base64
import pickle
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select, text

from control_plane.api.watch import RollWatch
from control_plane.domain.ids import new_id
from control_plane.domain.server import ServerStatus
from control_plane.registry import servers, tenants
from control_plane.registry.engine import transaction
from control_plane.registry.tables import PendingOwnerRow, TenantRow
from control_plane.routing.credentials import SignedClaim, ticket_signer
from control_plane.signup import service
from control_plane.signup.service import ClaimChangedError, Form
from tests.control_plane.conftest import MakeDatabase
from tests.control_plane.house import HOST, PASSWORD, ControlPlane, control_plane_on

FORM = {"company": "Ärzte & Co", "slug": "aerzte", "email": "Olga@Example.com", "password": PASSWORD}


async def signed_up(control_plane: ControlPlane, **changes: Any) -> httpx.Response:
    form = {**FORM, **changes}
    return await control_plane.client().post("/signup", json={key: form[key] for key in form if form[key] is not None})


async def eventually_on_the_roll(control_plane: ControlPlane, slug: str) -> TenantRow:
    watch = RollWatch(control_plane.parts.roll)
    assert await watch.until(lambda roll: roll.by_slug.get(slug), within_s=20) is not None
    return control_plane.tenant(slug)


@pytest.fixture
async def unhurried(make_database: MakeDatabase) -> AsyncIterator[ControlPlane]:
    """A control plane that waits for a tenant as long as a test may take."""
    async with control_plane_on(make_database(), signup_wait_s=20) as control_plane:
        yield control_plane


async def test_a_tenant_that_is_made_in_time_is_answered_with_the_way_in(unhurried: ControlPlane) -> None:
    asking = asyncio.create_task(signed_up(unhurried))
    row = await eventually_on_the_roll(unhurried, "aerzte")
    with transaction(unhurried.engine) as session:
        owner = tenants.pending_owner(session, row.id)
    assert owner is not None
    await asyncio.to_thread(unhurried.finish, row.id)
    answer = await asking
    assert answer.status_code == 201
    body = answer.json()
    expected = {"slug": "aerzte", "name": "Ärzte & Co", "model": "pool", "status": "active", "plan": "starter"}
    assert body["tenant"] == {"id": str(row.id), **expected}
    assert body["url"] == "http://aerzte.localhost:8080"
    assert body["enter_url"] == f"http://aerzte.localhost:8080/api/enter?ticket={body['ticket']}"
    claim = ticket_signer(unhurried.parts.keyring).read(body["ticket"])
    assert (claim.tenant_id, claim.subject) == (row.id, owner.user_id)
    assert claim.expires <= time.time() + unhurried.parts.settings.limits.ticket_life_s


async def test_the_answer_comes_as_soon_as_the_tenant_is_made(unhurried: ControlPlane) -> None:
    asking = asyncio.create_task(signed_up(unhurried))
    row = await eventually_on_the_roll(unhurried, "aerzte")
    await asyncio.to_thread(unhurried.finish, row.id)
    made = time.monotonic()
    await asking
    assert time.monotonic() - made < 5


async def test_a_tenant_that_takes_longer_is_answered_with_a_link_that_leads_in_later(fresh: ControlPlane) -> None:
    answer = await signed_up(fresh)
    assert answer.status_code == 202
    link = answer.json()["status_url"]
    assert link == answer.headers["location"]
    assert link.startswith(f"{HOST}/signup/")
    tenant_id = answer.json()["tenant"]["id"]
    meanwhile = await fresh.client().get(link)
    assert (meanwhile.status_code, meanwhile.json()["tenant"]["status"]) == (202, "provisioning")
    fresh.finish(tenant_id)
    await asyncio.to_thread(fresh.parts.roll.refresh)
    later = await fresh.client().get(link)
    assert later.status_code == 200
    assert later.json()["tenant"] == {**answer.json()["tenant"], "status": "active"}
    claim = ticket_signer(fresh.parts.keyring).read(later.json()["ticket"])
    assert str(claim.tenant_id) == tenant_id


async def test_a_tenant_that_cannot_be_made_is_answered_503_and_the_same_form_goes_on(fresh: ControlPlane) -> None:
    first = await signed_up(fresh)
    tenant_id = first.json()["tenant"]["id"]
    fresh.fail(tenant_id, "alpha: no space left on device")
    await asyncio.to_thread(fresh.parts.roll.refresh)
    answer = await fresh.client().get(first.json()["status_url"])
    assert (answer.status_code, answer.json()["code"]) == (503, "signup_failed")
    assert "alpha" not in answer.text
    again = await signed_up(fresh)
    assert again.status_code == 202
    assert again.json()["tenant"]["id"] == tenant_id
    assert fresh.workflows() == ["provision", "provision"]


async def test_a_failure_while_the_newcomer_waits_is_told(unhurried: ControlPlane) -> None:
    asking = asyncio.create_task(signed_up(unhurried))
    row = await eventually_on_the_roll(unhurried, "aerzte")
    await asyncio.to_thread(unhurried.fail, row.id)
    answer = await asking
    assert (answer.status_code, answer.json()["code"]) == (503, "signup_failed")
    assert "retry-after" in answer.headers


async def test_the_same_form_again_goes_on_and_starts_nothing_over(fresh: ControlPlane) -> None:
    first, second = await signed_up(fresh), await signed_up(fresh, email="olga@example.com ")
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json()["tenant"] == second.json()["tenant"]
    assert fresh.workflows() == ["provision"]


async def test_the_same_form_many_times_at_once_makes_one_tenant(fresh: ControlPlane) -> None:
    answers = await asyncio.gather(*(signed_up(fresh) for _ in range(8)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["tenant"]["id"] for answer in answers}) == 1
    assert fresh.workflows() == ["provision"]


async def test_one_slug_wanted_by_many_at_once_goes_to_one(fresh: ControlPlane) -> None:
    forms = [{"email": f"person{number}@example.com"} for number in range(6)]
    answers = await asyncio.gather(*(signed_up(fresh, **form) for form in forms))
    assert sorted(answer.status_code for answer in answers) == [202, 409, 409, 409, 409, 409]
    assert fresh.workflows() == ["provision"]


@pytest.mark.parametrize("change", [{"email": "ola@example.com"}, {"password": "another password"}, {"company": "B"}])
async def test_a_slug_that_is_being_made_for_somebody_else_is_taken(
    fresh: ControlPlane, change: dict[str, str]
) -> None:
    await signed_up(fresh)
    answer = await signed_up(fresh, **change)
    assert (answer.status_code, answer.json()["code"]) == (409, "slug_taken")
    assert fresh.workflows() == ["provision"]


async def test_a_slug_of_an_active_tenant_is_taken_even_for_its_owner(fresh: ControlPlane) -> None:
    first = await signed_up(fresh)
    fresh.finish(first.json()["tenant"]["id"])
    answer = await signed_up(fresh)
    assert (answer.status_code, answer.json()["code"]) == (409, "slug_taken")


async def test_a_slug_that_staff_reserved_for_a_customer_is_taken(fresh: ControlPlane) -> None:
    wish = {"name": FORM["company"], "slug": "aerzte", "plan": "starter", "model": "pool"}
    await fresh.staff().post("/admin/tenants", json={**wish, "owner_email": "olga@example.com"})
    assert (await signed_up(fresh)).status_code == 409


async def test_a_claim_that_changed_since_it_was_read_is_noticed(fresh: ControlPlane) -> None:
    form = Form(company="A Company", slug="acme", email="a@example.com", password=PASSWORD, name="A")
    mine, theirs = (service.proven_owner(form, None) for _ in range(2))
    with transaction(fresh.engine) as session:
        service.sign_up(session, fresh.parts.workflows, form, theirs)
    with pytest.raises(ClaimChangedError), transaction(fresh.engine) as session:
        service.sign_up(session, fresh.parts.workflows, form, mine)


async def test_a_slug_is_made_from_the_company_when_none_is_sent(fresh: ControlPlane) -> None:
    answer = await signed_up(fresh, slug=None)
    assert answer.json()["tenant"]["slug"] == "arzte-co"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"slug": "admin"}, "slug_reserved"),
        ({"slug": "Acme"}, "slug_invalid"),
        ({"slug": "a"}, "slug_invalid"),
        ({"slug": "-acme"}, "slug_invalid"),
        ({"slug": "xn--acme"}, "slug_invalid"),
        ({"slug": None, "company": "日本"}, "slug_invalid"),
        ({"slug": None, "company": "Admin"}, "slug_reserved"),
        ({"slug": "a" * 41}, "invalid"),
        ({"company": None}, "invalid"),
        ({"company": " "}, "invalid"),
        ({"company": "x" * 201}, "invalid"),
        ({"company": "a\0b"}, "invalid"),
        ({"email": "olga"}, "invalid"),
        ({"email": "olga@"}, "invalid"),
        ({"email": "a" * 250 + "@example.com"}, "invalid"),
        ({"password": "short"}, "invalid"),
        ({"password": "x" * 201}, "invalid"),
        ({"password": 12345678901}, "invalid"),
        ({"plan": "enterprise"}, "invalid"),
        ({"model": "silo"}, "invalid"),
    ],
)
async def test_a_bad_form_gets_a_clear_answer_and_changes_nothing(
    shared: ControlPlane, change: dict[str, Any], code: str
) -> None:
    answer = await signed_up(shared, **change)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert answer.headers["content-type"] == "application/problem+json"
    with transaction(shared.engine) as session:
        owners = select(func.count()).select_from(PendingOwnerRow).where(PendingOwnerRow.email.contains("olga"))
        assert session.scalar(owners) == 0


async def test_a_password_is_kept_as_an_argon2id_hash_alone(fresh: ControlPlane) -> None:
    await signed_up(fresh)
    with transaction(fresh.engine) as session:
        owner = session.scalars(select(PendingOwnerRow)).one()
        assert owner.email == "olga@example.com"
        assert (owner.password_hash or "").startswith("$argon2id$")


async def test_the_workflow_is_told_the_tenants_id_and_nothing_else(fresh: ControlPlane) -> None:
    tenant = (await signed_up(fresh)).json()["tenant"]
    with fresh.engine.connect() as connection:
        kept = connection.execute(text("SELECT schema_to_xml('dbos', true, false, '')::text")).scalar_one()
        arguments = connection.execute(text("SELECT inputs FROM dbos.workflow_input")).scalar_one()
    assert pickle.loads(base64.b64decode(arguments)) == {"args": (tenant["id"],), "kwargs": {}}
    for secret in ("olga", PASSWORD, "argon2id", "aerzte"):
        assert secret not in kept.lower()


async def test_a_platform_without_room_says_so_and_not_why(fresh: ControlPlane) -> None:
    with transaction(fresh.engine) as session:
        servers.set_server_status(session, "alpha", ServerStatus.DRAINING)
    answer = await signed_up(fresh)
    assert (answer.status_code, answer.json()["code"]) == (503, "no_server")
    assert "alpha" not in answer.text
    assert fresh.workflows() == []


async def test_a_suspended_newcomer_gets_no_ticket(fresh: ControlPlane) -> None:
    first = await signed_up(fresh)
    fresh.finish(first.json()["tenant"]["id"])
    await fresh.staff().post("/admin/tenants/aerzte/suspend")
    await asyncio.to_thread(fresh.parts.roll.refresh)
    answer = await fresh.client().get(first.json()["status_url"])
    assert (answer.status_code, answer.json()["code"]) == (403, "tenant_suspended")


async def test_a_status_link_cannot_be_guessed_or_made_from_a_ticket(fresh: ControlPlane) -> None:
    first = await signed_up(fresh)
    token = first.json()["status_url"].rpartition("/")[2]
    changed = token[:10] + ("A" if token[10] != "A" else "B") + token[11:]
    claim = SignedClaim(tenant_id=new_id(), subject=new_id(), nonce=new_id(), expires=int(time.time()) + 60)
    for forged in (changed, token[:-1], "x", "ü", ticket_signer(fresh.parts.keyring).sign(claim), "a" * 500):
        answer = await fresh.client().get(f"/signup/{forged}")
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json"), forged


@pytest.mark.slow
async def test_one_client_is_throttled_before_all_are(make_database: MakeDatabase) -> None:
    async with control_plane_on(make_database(), signups_per_minute=6) as control_plane:
        answers = [await signed_up(control_plane, slug=f"company-{number}") for number in range(4)]
        assert [answer.status_code for answer in answers] == [202, 202, 202, 429]
        assert answers[-1].headers["retry-after"]
        elsewhere = httpx.ASGITransport(app=control_plane.app, client=("192.0.2.1", 1))
        client = control_plane.client(transport=elsewhere)
        answers = [await client.post("/signup", json={**FORM, "slug": f"other-{number}"}) for number in range(4)]
        assert [answer.status_code for answer in answers] == [202, 202, 202, 429]
        third = control_plane.client(transport=httpx.ASGITransport(app=control_plane.app, client=("192.0.2.2", 1)))
        assert (await third.post("/signup", json={**FORM, "slug": "third"})).status_code == 429
