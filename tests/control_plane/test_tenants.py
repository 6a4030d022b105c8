"""Tenants as staff handle them: onboarding, plans, suspension, keys, homes, workflows."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from control_plane.domain.tenant import Model
from control_plane.registry import progress, servers, tenants
from control_plane.registry.engine import transaction
from control_plane.routing.credentials import parse_key
from control_plane.staff.roles import StaffRole
from tests.control_plane.house import UNKNOWN_ID, ControlPlane, server

WISH = {"name": "Acme & Sons", "slug": "acme", "plan": "enterprise", "model": "silo"}


async def onboarded(control_plane: ControlPlane, **changes: Any) -> httpx.Response:
    wish = {**WISH, **changes}
    sent = {key: value for key, value in wish.items() if value is not None}
    return await control_plane.staff(StaffRole.OPS).post("/admin/tenants", json=sent)


async def test_onboarding_answers_at_once_and_starts_the_making(fresh: ControlPlane) -> None:
    answer = await onboarded(fresh, server="beta", region="local", owner_email="Olga@Example.com")
    assert answer.status_code == 202
    assert answer.headers["location"] == "/admin/tenants/acme"
    tenant = answer.json()
    assert {**WISH, "status": "provisioning"}.items() <= tenant.items()
    assert fresh.workflows() == ["provision"]
    with transaction(fresh.engine) as session:
        owner = tenants.pending_owner(session, fresh.tenant("acme").id)
    assert owner is not None
    assert (owner.email, owner.name, owner.password_hash) == ("olga@example.com", "olga", None)


async def test_the_same_wish_again_starts_nothing_over(fresh: ControlPlane) -> None:
    first, second = await onboarded(fresh), await onboarded(fresh)
    assert (first.json(), second.status_code) == (second.json(), 202)
    assert fresh.workflows() == ["provision"]
    for change in ({"plan": "starter"}, {"name": "Other"}, {"model": "pool"}, {"owner_email": "a@example.com"}):
        assert (await onboarded(fresh, **change)).status_code == 409, change
    assert fresh.workflows() == ["provision"]


async def test_a_slug_is_made_from_the_name_when_none_is_sent(fresh: ControlPlane) -> None:
    assert (await onboarded(fresh, slug=None)).json()["slug"] == "acme-sons"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"plan": "gold"}, "invalid"),
        ({"plan": None}, "invalid"),
        ({"model": "raft"}, "invalid"),
        ({"server": "nowhere"}, "server_unknown"),
        ({"server": "a\0b"}, "invalid"),
        ({"region": "ü"}, "invalid"),
        ({"owner_email": "olga"}, "invalid"),
        ({"slug": "www"}, "slug_reserved"),
        ({"slug": "A"}, "slug_invalid"),
        ({"name": "\u202e"}, "invalid"),
        ({"status": "active"}, "invalid"),
    ],
)
async def test_a_bad_wish_gets_a_clear_answer_and_changes_nothing(
    fresh: ControlPlane, change: dict[str, Any], code: str
) -> None:
    answer = await onboarded(fresh, **change)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert fresh.workflows() == []


async def test_no_room_is_answered_with_the_reason(fresh: ControlPlane) -> None:
    ops = fresh.staff(StaffRole.OPS)
    await ops.put("/admin/servers/beta/status", json={"status": "draining"})
    answer = await onboarded(fresh)
    assert (answer.status_code, answer.json()["code"]) == (503, "no_server")
    assert "beta: is draining" in answer.json()["detail"]
    assert "takes no silo tenants" in (await onboarded(fresh, server="alpha")).json()["detail"]
    assert "is in local" in (await onboarded(fresh, region="moon")).json()["detail"]


async def test_a_server_that_is_full_takes_nobody_more(fresh: ControlPlane) -> None:
    with transaction(fresh.engine) as session:
        servers.register(session, server("alpha", Model.POOL, capacity=1))
    await fresh.active_tenant()
    answer = await onboarded(fresh, model="pool", server="alpha")
    assert answer.status_code == 503
    assert "is full" in answer.json()["detail"]


async def test_the_details_tell_all_that_the_roll_knows(fresh: ControlPlane) -> None:
    tenant = await fresh.active_tenant("acme")
    ops = fresh.staff(StaffRole.OPS)
    revoked = (await ops.post("/admin/tenants/acme/keys", json={"name": "old"})).json()
    await ops.post("/admin/tenants/acme/keys", json={"name": "new"})
    await ops.delete(f"/admin/keys/{revoked['id']}")
    await ops.put("/admin/tenants/acme/plan", json={"plan": "enterprise", "move": False})
    with transaction(fresh.engine) as session:
        progress.record(session, str(tenant.workflow_id), 0, "choose_home", 12)
    by_slug = (await ops.get("/admin/tenants/acme")).json()
    assert by_slug == (await ops.get(f"/admin/tenants/{tenant.id}")).json()
    assert (by_slug["plan"], by_slug["status"], by_slug["keys"]) == ("enterprise", "active", 1)
    assert [change["plan"] for change in by_slug["plan_history"]] == ["professional", "enterprise"]
    home = by_slug["home"]
    found = tuple(home[part] for part in ("server", "database", "schema", "state", "epoch", "revision"))
    assert found == ("alpha", "pool_1", "public", "current", 1, "0002")
    assert [step["step"] for step in by_slug["workflow"]["steps"]] == ["choose_home"]


async def test_the_details_of_a_failed_tenant_tell_why(fresh: ControlPlane) -> None:
    fresh.fail((await onboarded(fresh)).json()["id"], "the disk is full")
    details = (await fresh.staff(StaffRole.SUPPORT).get("/admin/tenants/acme")).json()
    assert (details["status"], details["failure"], details["home"]) == ("failed", "the disk is full", None)


async def test_lists_come_in_pages_that_end(fresh: ControlPlane) -> None:
    slugs = [(await fresh.active_tenant()).slug for _ in range(5)]
    support = fresh.staff(StaffRole.SUPPORT)
    for path in ("/admin/tenants", "/admin/homes"):
        seen: list[str] = []
        after: str | None = None
        for _ in range(3):
            query = {"limit": 2} | ({"after": after} if after else {})
            page = (await support.get(path, params=query)).json()
            seen += [item["slug"] for item in page["items"]]
            after = page["next"]
        assert (seen, after) == (slugs, None)


@pytest.mark.parametrize("query", ["limit=0", "limit=1000", "limit=x", "after=x"])
async def test_a_page_that_cannot_be_is_refused(shared: ControlPlane, query: str) -> None:
    answer = await shared.staff().get(f"/admin/tenants?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")


async def test_a_plan_change_is_in_the_history_once(fresh: ControlPlane) -> None:
    await fresh.active_tenant("acme")
    ops = fresh.staff(StaffRole.OPS)
    for _ in range(2):
        answer = await ops.put("/admin/tenants/acme/plan", json={"plan": "enterprise"})
        assert (answer.status_code, answer.json()["plan"]) == (200, "enterprise")
    history = (await ops.get("/admin/tenants/acme")).json()["plan_history"]
    assert [change["plan"] for change in history] == ["professional", "enterprise"]
    assert (await ops.put("/admin/tenants/acme/plan", json={"plan": "gold"})).status_code == 422


async def test_suspension_is_on_the_roll_at_once_and_resuming_is_left_to_the_worker(fresh: ControlPlane) -> None:
    tenant = await fresh.active_tenant("acme")
    ops = fresh.staff(StaffRole.OPS)
    suspended = await ops.post("/admin/tenants/acme/suspend")
    assert (suspended.status_code, suspended.json()["status"]) == (202, "suspended")
    await asyncio.to_thread(fresh.parts.roll.refresh)
    assert fresh.parts.roll.snapshot.by_id[tenant.id].status == "suspended"
    resuming = await ops.post(f"/admin/tenants/{tenant.id}/resume")
    assert (resuming.status_code, resuming.json()["status"]) == (202, "suspended")
    assert fresh.workflows() == ["provision", "suspend", "resume"]


async def test_what_a_tenants_state_does_not_allow_is_a_conflict(fresh: ControlPlane) -> None:
    await onboarded(fresh)
    ops = fresh.staff(StaffRole.OPS)
    for change in ("suspend", "resume"):
        answer = await ops.post(f"/admin/tenants/acme/{change}")
        assert (answer.status_code, answer.json()["code"]) == (409, "transition_not_allowed")
    assert fresh.workflows() == ["provision"]


async def test_a_keys_secret_is_told_once(fresh: ControlPlane) -> None:
    tenant = await fresh.active_tenant("acme")
    ops = fresh.staff(StaffRole.OPS)
    answer = await ops.post("/admin/tenants/acme/keys", json={"name": "CI", "role": "admin", "scopes": ["read"]})
    assert answer.status_code == 201
    made = answer.json()
    tenant_id, digest = parse_key(made.pop("key"))
    assert tenant_id == tenant.id
    assert (await ops.get("/admin/tenants/acme/keys")).json()["items"] == [made]
    await asyncio.to_thread(fresh.parts.roll.refresh)
    (known,) = fresh.parts.roll.snapshot.by_id[tenant.id].keys
    assert (known.secret_sha256, known.role, known.scopes) == (digest, "admin", ("read",))


async def test_a_revoked_key_is_off_the_roll_and_stays_in_the_list(fresh: ControlPlane) -> None:
    tenant = await fresh.active_tenant("acme")
    ops = fresh.staff(StaffRole.OPS)
    key_id = (await ops.post("/admin/tenants/acme/keys", json={"name": "CI"})).json()["id"]
    for _ in range(2):
        assert (await ops.delete(f"/admin/keys/{key_id}")).status_code == 204
    await asyncio.to_thread(fresh.parts.roll.refresh)
    assert fresh.parts.roll.snapshot.by_id[tenant.id].keys == ()
    (listed,) = (await ops.get("/admin/tenants/acme/keys")).json()["items"]
    assert listed["revoked_at"] is not None


@pytest.mark.parametrize(
    "body", [{}, {"name": ""}, {"name": "K", "role": "root"}, {"name": "K", "scopes": ["all"]}, {"name": "K", "x": 1}]
)
async def test_a_bad_key_is_refused(fresh: ControlPlane, body: dict[str, Any]) -> None:
    await fresh.active_tenant("acme")
    ops = fresh.staff(StaffRole.OPS)
    assert (await ops.post("/admin/tenants/acme/keys", json=body)).status_code == 422
    assert (await ops.get("/admin/tenants/acme/keys")).json()["items"] == []


async def test_a_workflows_progress_is_found_by_its_id(fresh: ControlPlane) -> None:
    await onboarded(fresh)
    workflow_id = str(fresh.tenant("acme").workflow_id)
    support = fresh.staff(StaffRole.SUPPORT)
    found = (await support.get(f"/admin/workflows/{workflow_id}")).json()
    assert (found["id"], found["state"], found["steps"]) == (workflow_id, "requested", [])
    with transaction(fresh.engine) as session:
        progress.record(session, workflow_id, 0, "choose_home", 12)
    (step,) = (await support.get(f"/admin/workflows/{workflow_id}")).json()["steps"]
    assert (step["step"], step["duration_ms"]) == ("choose_home", 12)


@pytest.mark.parametrize("tenant", ["nobody", "x" * 64, "x" * 65, "%00", "a%00b", "ü", "..", "acme'--", UNKNOWN_ID])
async def test_what_names_no_tenant_is_not_found(shared: ControlPlane, tenant: str) -> None:
    admin = shared.staff()
    answers = [
        await admin.get(f"/admin/tenants/{tenant}"),
        await admin.get(f"/admin/tenants/{tenant}/keys"),
        await admin.post(f"/admin/tenants/{tenant}/suspend"),
        await admin.put(f"/admin/tenants/{tenant}/plan", json={"plan": "starter"}),
        await admin.post(f"/admin/tenants/{tenant}/keys", json={"name": "K"}),
    ]
    assert {answer.status_code for answer in answers} <= {404}
    assert {answer.headers["content-type"] for answer in answers} == {"application/problem+json"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", f"/admin/keys/{UNKNOWN_ID}"),
        ("DELETE", "/admin/keys/x"),
        ("GET", "/admin/workflows/provision/x/y"),
        ("GET", "/admin/workflows/%00"),
        ("GET", "/admin/servers/nowhere"),
        ("GET", "/admin/servers/%00"),
        ("GET", f"/admin/migrations/{UNKNOWN_ID}"),
        ("GET", "/admin/migrations/x"),
        ("GET", "/admin/audit?tenant=nobody"),
        ("GET", "/admin/nothing"),
        ("GET", "/admin/tenants/"),
    ],
)
async def test_what_names_nothing_is_not_found(shared: ControlPlane, method: str, path: str) -> None:
    answer = await shared.staff().request(method, path)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
