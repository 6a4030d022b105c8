"""The control plane on a whole platform: a newcomer gets in, staff handle tenants that live."""

from __future__ import annotations

from uuid import uuid4

import httpx
import pytest

from control_plane.domain.tenant import Model, Status
from control_plane.registry.engine import transaction
from control_plane.staff import service
from control_plane.staff.roles import StaffRole
from provisioning.moves.forecast import foretell
from tests.platform_under_test import PASSWORD, PlatformUnderTest
from tests.waiting import until


@pytest.fixture(scope="module")
def ops(platform: PlatformUnderTest) -> httpx.Client:
    """A member of staff with a token."""
    with transaction(platform.engine) as session:
        email = f"{uuid4().hex}@example.com"
        member = service.add(session, email=email, role=StaffRole.OPS, actor="tests")
        token = service.issue_token(session, member, actor="tests")
    return platform.client(f"localhost:{platform.port}", token)


def form() -> dict[str, str]:
    slug = f"n{uuid4().hex[:10]}"
    return {"company": "Newcomers", "slug": slug, "email": f"olga@{slug}.example", "password": PASSWORD}


def test_a_newcomer_is_inside_after_one_form_and_one_ticket(platform: PlatformUnderTest) -> None:
    sent = form()
    answer = platform.control.post("/signup", json=sent)
    assert answer.status_code == 201, answer.text
    body = answer.json()
    tenant = body["tenant"]
    assert (tenant["slug"], tenant["model"], tenant["status"], tenant["plan"]) == (
        sent["slug"],
        "pool",
        "active",
        "starter",
    )
    url = httpx.URL(body["enter_url"])
    assert (url.host, url.port) == (f"{sent['slug']}.localhost", platform.port)
    browser = platform.client(f"{url.host}:{url.port}")
    entered = browser.get(url.raw_path.decode())
    assert entered.status_code == 303, entered.text
    me = browser.get("/api/me", headers={"Cookie": entered.headers["set-cookie"].partition(";")[0]})
    assert (me.status_code, me.json()["email"], me.json()["role"]) == (200, sent["email"], "owner")
    assert browser.get(url.raw_path.decode()).status_code == 401
    login = browser.post("/api/login", json={"email": sent["email"], "password": PASSWORD})
    assert login.status_code == 200


def test_staff_follow_a_silo_to_its_end(platform: PlatformUnderTest, ops: httpx.Client) -> None:
    slug = f"s{uuid4().hex[:10]}"
    answer = ops.post("/admin/tenants", json={"name": "Silo", "slug": slug, "plan": "enterprise", "model": "silo"})
    assert answer.status_code == 202
    made = "its making is on record as done"
    until(lambda: ops.get(f"/admin/tenants/{slug}").json()["workflow"]["state"] == "done", what=made)
    details = ops.get(f"/admin/tenants/{slug}").json()
    assert details["status"] == "active"
    assert details["home"]["server"] == "beta"
    assert [step["step"] for step in details["workflow"]["steps"]][-1] == "activate"
    assert ops.get(f"/admin/workflows/{details['workflow']['id']}").json() == details["workflow"]
    key = ops.post(f"/admin/tenants/{slug}/keys", json={"name": "CI", "role": "owner"}).json()["key"]
    tenant = platform.client(f"{slug}.localhost:{platform.port}", key)
    until(lambda: tenant.get("/api/me").status_code == 200, what="the key is known")


def test_staff_are_told_what_a_move_would_do(platform: PlatformUnderTest, ops: httpx.Client) -> None:
    tenant = platform.tenant("pool")
    wish = {"model": "silo", "undo_window_s": 60, "allow_freeze": True}
    answer = ops.post(f"/admin/tenants/{tenant.slug}/moves/dry-run", json=wish)
    assert answer.status_code == 202, answer.text
    where = answer.headers["Location"]
    until(lambda: ops.get(where).json()["state"] not in {"requested", "running"}, what="a worker has found out")
    answered = ops.get(where).json()
    assert answered["error"] is None
    found = foretell(platform.estate, tenant.slug, Model.SILO, None, allow_freeze=True, window_s=60).told()
    assert answered["foretold"] == found
    assert (found["rows"] > 0, found["recipe"], found["objections"]) == (True, "stream", [])
    assert "--allow-freeze changes nothing" in found["note"]
    assert ops.get(f"/admin/tenants/{tenant.slug}").json()["status"] == "active"


def test_what_there_is_no_place_for_is_told_like_all_that_speaks_against_a_move(
    platform: PlatformUnderTest, ops: httpx.Client
) -> None:
    tenant = platform.tenant("pool")
    wish = {"model": "silo", "server": "alpha"}
    where = ops.post(f"/admin/tenants/{tenant.slug}/moves/dry-run", json=wish).headers["Location"]
    until(lambda: ops.get(where).json()["state"] not in {"requested", "running"}, what="a worker has found out")
    told = ops.get(where).json()["foretold"]
    assert told["objections"] == ["no server can take a silo tenant (alpha: takes no silo tenants)"]
    assert (told["to"], told["because"], told["rows"] > 0) == ("silo on alpha", None, True)
    anywhere = foretell(platform.estate, tenant.slug, Model.POOL, None, allow_freeze=False, window_s=0)
    assert (anywhere.server, "already" in anywhere.objections[0], anywhere.told()["to"]) == (None, True, "pool")


def test_a_suspended_tenant_is_refused_and_let_in_again(platform: PlatformUnderTest, ops: httpx.Client) -> None:
    tenant = platform.tenant("pool")
    assert ops.post(f"/admin/tenants/{tenant.slug}/suspend").status_code == 202
    until(lambda: tenant.http.get("/api/me").status_code == 403, what="the tenant is refused")
    assert ops.post(f"/admin/tenants/{tenant.slug}/resume").status_code == 202
    platform.wait_for(tenant.id, Status.ACTIVE)
    until(lambda: tenant.http.get("/api/me").status_code == 200, what="the tenant is served")


def test_a_revoked_key_opens_nothing(platform: PlatformUnderTest, ops: httpx.Client) -> None:
    tenant = platform.tenant("pool")
    (key,) = ops.get(f"/admin/tenants/{tenant.slug}/keys").json()["items"]
    assert ops.delete(f"/admin/keys/{key['id']}").status_code == 204
    until(lambda: tenant.http.get("/api/me").status_code == 401, what="the key is refused")


def test_the_probes_and_the_fleet_tell_of_the_platform(platform: PlatformUnderTest, ops: httpx.Client) -> None:
    ready = platform.control.get("/readyz").json()
    assert (ready["status"], ready["control_database"]) == ("ready", "answers")
    assert "copyhold_connections{" in platform.control.get("/metrics").text
    fleet = ops.get("/admin/fleet").json()
    assert {target["revision"] for target in fleet["targets"]} <= {"0001", fleet["tenant_revision"]}
    assert {server["name"] for server in ops.get("/admin/servers").json()["items"]} >= {"alpha", "beta"}
