"""Where tenants go, as staff ask and decide it over HTTP."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from control_plane.domain.server import Catalogue
from control_plane.domain.tenant import Model
from control_plane.registry import placing, servers
from control_plane.registry.engine import transaction
from control_plane.registry.servers import READY
from control_plane.staff.roles import StaffRole
from tests.control_plane.house import ControlPlane, server

SILO = {"model": "silo", "plan": "enterprise"}


async def test_a_preview_tells_where_and_why_and_makes_nothing(fresh: ControlPlane) -> None:
    support = fresh.staff(StaffRole.SUPPORT)
    answer = await support.post("/admin/placement/preview", json=SILO)
    assert (answer.status_code, answer.json()) == (
        200,
        {
            "server": "beta",
            "reason": "1 of 2 servers fit; beta has room for 100",
            "objections": {"alpha": ["takes no silo tenants"], "beta": []},
        },
    )
    assert (await support.get("/admin/tenants")).json()["items"] == []
    assert fresh.workflows() == []


async def test_a_preview_tells_why_none_fits(fresh: ControlPlane) -> None:
    ops = fresh.staff(StaffRole.OPS)
    assert (await ops.put("/admin/servers/beta/labels", json={"labels": ["only-bank"]})).status_code == 204
    shown = (await ops.post("/admin/placement/preview", json=SILO)).json()
    assert shown["server"] is None
    assert shown["reason"] == (
        "no server can take a silo tenant (alpha: takes no silo tenants; beta: takes only tenants labelled bank)"
    )
    assert (await ops.post("/admin/placement/preview", json={**SILO, "labels": ["bank"]})).json()["server"] == "beta"
    assert (await ops.put("/admin/servers/beta/labels", json={"labels": []})).status_code == 204
    assert (await ops.post("/admin/placement/preview", json=SILO)).json()["server"] == "beta"


async def test_room_is_kept_and_told(fresh: ControlPlane) -> None:
    ops = fresh.staff(StaffRole.OPS)
    for room, said in (({"tenants": 0}, "is full (0 tenants)"), ({"tenants": 9, "bytes": 0}, "is full (0 of 0 bytes)")):
        assert (await ops.put("/admin/servers/beta/room", json=room)).status_code == 204
        shown = (await ops.post("/admin/placement/preview", json=SILO)).json()
        assert shown["objections"]["beta"] == [said]
    log = (await ops.get("/admin/audit")).json()["items"]
    assert [entry["facts"] for entry in log if entry["action"] == "server.room"] == [
        {"tenants": 9, "bytes": 0, "per_minute": None},
        {"tenants": 0, "bytes": None, "per_minute": None},
    ]


async def test_an_open_catalogue_is_answered_for_by_an_admin(fresh: ControlPlane) -> None:
    with transaction(fresh.engine) as session:
        servers.register(session, replace(server("gamma", Model.POOL), host="db.example.com"))
        servers.set_catalogue(session, "gamma", Catalogue.OPEN)
    admin, path = fresh.staff(), "/admin/servers/gamma"
    assert (await fresh.staff(StaffRole.OPS).put(f"{path}/catalogue", json={"accept_open": True})).status_code == 403
    for accepted, shown in ((True, "accepted"), (False, "open")):
        assert (await admin.put(f"{path}/catalogue", json={"accept_open": accepted})).status_code == 204
        assert (await admin.get(path)).json()["catalogue"] == shown
    assert (await admin.put("/admin/servers/nowhere/catalogue", json={"accept_open": True})).status_code == 404
    log = (await admin.get("/admin/audit")).json()["items"]
    assert [each["facts"] for each in log if each["action"] == "server.catalogue"] == [
        {"accepted": False},
        {"accepted": True},
    ]


async def test_a_server_grows_once_for_a_number(fresh: ControlPlane) -> None:
    ops, wish = fresh.staff(StaffRole.OPS), {"model": "pool", "number": 2}
    for _ in range(2):
        answer = await ops.post("/admin/servers/alpha/databases", json=wish)
        assert (answer.status_code, answer.json()) == (202, {"databases": ["pool_1", "pool_2"]})
    assert fresh.workflows() == ["grow"] * 4
    with transaction(fresh.engine) as session:
        for row in servers.databases_of(session, "alpha", Model.POOL):
            row.state, row.home_revision = READY, "h0001"
    assert (await ops.post("/admin/servers/alpha/databases", json=wish)).json() == {"databases": []}
    assert (await ops.post("/admin/servers/alpha/databases", json={"model": "pool"})).json() == {
        "databases": ["pool_3"]
    }


async def test_a_server_without_connections_grows_no_more(fresh: ControlPlane) -> None:
    ops = fresh.staff(StaffRole.OPS)
    with transaction(fresh.engine) as session:
        for _ in range(100):
            placing.add_shared(session, "alpha", Model.BRIDGE)
    answer = await ops.post("/admin/servers/alpha/databases", json={"model": "pool"})
    assert (answer.status_code, answer.json()["code"]) == (422, "shared_number")
    assert "alpha has 100 databases for 100 connections" in answer.json()["detail"]


async def test_databases_of_all_servers_have_names_of_their_own(fresh: ControlPlane) -> None:
    with transaction(fresh.engine) as session:
        servers.register(session, server("gamma", Model.POOL))
        made = [placing.add_shared(session, name, Model.POOL).alias for name in ("alpha", "gamma", "alpha")]
    assert made == ["pool_1", "pool_2", "pool_3"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/admin/placement/preview", {**SILO, "server": "nowhere"}),
        ("/admin/placement/preview", {**SILO, "labels": ["No"]}),
        ("/admin/servers/alpha/databases", {"model": "silo"}),
        ("/admin/servers/beta/databases", {"model": "pool"}),
        ("/admin/servers/alpha/databases", {"model": "pool", "number": 0}),
    ],
)
async def test_what_cannot_be_is_refused(shared: ControlPlane, path: str, body: dict[str, Any]) -> None:
    answer = await shared.staff(StaffRole.OPS).post(path, json=body)
    assert answer.status_code == 422, answer.text


@pytest.mark.parametrize("path", ["servers/alpha/databases", "servers/alpha/labels", "servers/alpha/room"])
async def test_support_may_look_and_change_nothing(shared: ControlPlane, path: str) -> None:
    support = shared.staff(StaffRole.SUPPORT)
    method = "POST" if path.endswith("databases") else "PUT"
    assert (await support.request(method, f"/admin/{path}", json={})).status_code == 403
