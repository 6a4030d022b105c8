"""Servers that join and leave, by HTTP: what is wished is recorded; the worker does the rest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import text

from control_plane import audit
from control_plane.doors import opened
from control_plane.registry import servers
from control_plane.registry.engine import transaction
from control_plane.settings import Rds
from control_plane.staff.roles import StaffRole
from tests.control_plane.house import ControlPlane
from tests.servers.certificates import Authority

SECRET = "the keeper's own secret"
NEW: dict[str, Any] = {
    "name": "gamma",
    "host": "db.example.com",
    "admin": "keeper",
    "password": SECRET,
    "models": ["silo"],
    "labels": ["far"],
}


@pytest.fixture
def passing(shared: ControlPlane) -> Iterator[None]:
    """What is added here is off the roll for the tests that follow."""
    yield
    with transaction(shared.engine) as session:
        servers.delete_server(session, "gamma")


@pytest.fixture
def named_in_aws(shared: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    """The platform has a name there."""
    settings = shared.parts.settings
    named = settings.model_copy(update={"rds": Rds(platform="main")})
    monkeypatch.setitem(vars(shared.parts), "settings", named)


@pytest.mark.usefixtures("passing")
async def test_a_server_is_recorded_with_its_workflow_and_its_password_is_never_shown(shared: ControlPlane) -> None:
    admin = shared.staff()
    answer = await admin.post("/admin/servers", json=NEW)
    assert answer.status_code == 202, answer.text
    assert answer.headers["Location"] == f"/admin/workflows/{answer.json()['id']}"
    assert answer.json()["kind"] == "add_server"
    shown = await admin.get("/admin/servers/gamma")
    assert (shown.json()["status"], shown.json()["labels"]) == ("adding", ["far"])
    audited = await admin.get("/admin/audit")
    workflow = await admin.get(answer.headers["Location"])
    assert SECRET not in answer.text + shown.text + audited.text + workflow.text
    with transaction(shared.engine) as session:
        server = servers.server_named(session, "gamma")
        assert "server.add" in {row.action for row in audit.newest(session, limit=5)}
        assert SECRET not in str(session.execute(text("SELECT servers::text FROM servers")).all())
        assert SECRET not in str(session.execute(text("SELECT w::text FROM dbos.workflow_status w")).all())
    assert server.sealed_passwords is not None
    assert opened(shared.parts.keyring, "gamma", server.sealed_passwords) == {"keeper": SECRET}

    again = await admin.post("/admin/servers", json={**NEW, "admin": "chief"})
    assert again.status_code == 202
    with transaction(shared.engine) as session:
        assert servers.server_named(session, "gamma").admin == "chief"
    taken = await admin.post("/admin/servers", json={**NEW, "name": "delta"})
    assert (taken.status_code, taken.json()["code"]) == (409, "server_taken")

    drained = await admin.put("/admin/servers/gamma/status", json={"status": "active"})
    assert (drained.status_code, drained.json()["code"]) == (409, "server_unsettled")
    gone = await admin.delete("/admin/servers/gamma")
    assert (gone.status_code, gone.json()["kind"]) == (202, "remove_server")
    assert (await admin.get("/admin/servers/gamma")).json()["status"] == "removing"


INSTANCE: dict[str, Any] = {
    "name": "gamma",
    "provider": "rds",
    "models": ["silo"],
    "capacity": 1,
    "ca": f"# Tanúsítvány\n{Authority().pem}",
    "shape": {
        "region": "eu-central-1",
        "instance_class": "db.t4g.medium",
        "engine_version": "16.4",
        "storage_gib": 100,
        "subnet_group": "tenants",
        "security_groups": ["sg-0123456789abcdef0"],
    },
}


@pytest.mark.usefixtures("passing", "named_in_aws")
async def test_an_instance_is_recorded_with_its_shape(shared: ControlPlane) -> None:
    admin = shared.staff()
    answer = await admin.post("/admin/servers", json=INSTANCE)
    assert answer.status_code == 202, answer.text
    with transaction(shared.engine) as session:
        server = servers.server_named(session, "gamma")
    assert (server.provider, server.host, server.status) == ("rds", "copyhold-main-gamma", "adding")
    assert (server.rds["platform"], server.rds["shape"]) == ("main", INSTANCE["shape"])
    assert (server.sealed_passwords, server.ca) == (None, INSTANCE["ca"])
    gone = await admin.delete("/admin/servers/gamma", params={"confirm": "copyhold-main-gamma", "snapshot": "false"})
    assert gone.status_code == 202
    with transaction(shared.engine) as session:
        ending = servers.server_row(session, "gamma").settings["ending"]
    assert ending == {"confirm": "copyhold-main-gamma", "final_snapshot": False}


@pytest.mark.usefixtures("named_in_aws")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"shape": {**INSTANCE["shape"], "storage_gib": 1}}, "storage_gib"),
        ({"shape": {**INSTANCE["shape"], "password": "p"}}, "no setting password"),
        ({"shape": {}}, "needs engine_version"),
        ({"ca": ""}, "global bundle"),
        ({"ca": "acme.json"}, "holds none"),
        ({"name": "a--b"}, "cannot name an RDS instance"),
        ({"host": "db.example.com"}, "host"),
    ],
    ids=str,
)
async def test_an_instance_that_cannot_be_is_refused(shared: ControlPlane, change: dict[str, Any], said: str) -> None:
    answer = await shared.staff().post("/admin/servers", json={**INSTANCE, **change})
    assert (answer.status_code, said in answer.text) == (422, True), answer.text


async def test_a_platform_without_a_name_in_aws_makes_no_instance(shared: ControlPlane) -> None:
    answer = await shared.staff().post("/admin/servers", json=INSTANCE)
    assert (answer.status_code, answer.json()["code"]) == (422, "server_wish")
    assert "COPYHOLD_RDS__PLATFORM" in answer.text


async def test_ops_do_not_suffice(shared: ControlPlane) -> None:
    ops = shared.staff(StaffRole.OPS)
    assert (await ops.post("/admin/servers", json=NEW)).status_code == 403
    assert (await ops.delete("/admin/servers/beta")).status_code == 403


async def test_a_server_of_this_machine_is_not_removed(shared: ControlPlane) -> None:
    answer = await shared.staff().delete("/admin/servers/beta")
    assert (answer.status_code, answer.json()["code"]) == (409, "server_in_use")


@pytest.mark.parametrize(
    "change",
    [
        {"host": "/run/postgresql"},
        {"host": "a b"},
        {"port": 0},
        {"admin": "a b"},
        {"password": ""},
        {"models": []},
        {"capacity": 0},
        {"name": "Not a name"},
        {"provider": "elsewhere"},
    ],
    ids=str,
)
async def test_what_cannot_be_is_refused_without_the_password(shared: ControlPlane, change: dict[str, Any]) -> None:
    answer = await shared.staff().post("/admin/servers", json={**NEW, "name": "omega", **change})
    assert answer.status_code == 422
    assert SECRET not in answer.text
    assert (await shared.staff().get("/admin/servers/omega")).status_code == 404
