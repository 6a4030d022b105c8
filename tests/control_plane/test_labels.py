"""Labels over HTTP: given at the making, replaced by staff, found again; bad ones change nothing."""

from __future__ import annotations

from typing import Any

import pytest

from control_plane import audit
from control_plane.registry.engine import transaction
from control_plane.staff.roles import StaffRole
from tests.control_plane.house import UNKNOWN_ID, ControlPlane
from tests.control_plane.test_tenants import onboarded

PATH = "/admin/tenants/acme/labels"


async def test_a_tenant_is_made_with_labels_and_shows_them(fresh: ControlPlane) -> None:
    answer = await onboarded(fresh, labels=["eu", "canary", "eu"])
    assert (answer.status_code, answer.json()["labels"]) == (202, ["canary", "eu"])
    support = fresh.staff(StaffRole.SUPPORT)
    assert (await support.get("/admin/tenants/acme")).json()["labels"] == ["canary", "eu"]
    assert [row["labels"] for row in (await support.get("/admin/tenants")).json()["items"]] == [["canary", "eu"]]


async def test_labels_are_replaced_and_the_audit_log_is_told(fresh: ControlPlane) -> None:
    await onboarded(fresh, labels=["old"])
    ops = fresh.staff(StaffRole.OPS, "olga@example.com")
    for _ in range(2):
        answer = await ops.put(PATH, json={"labels": ["canary", "a-1"]})
        assert (answer.status_code, answer.json()["labels"]) == (200, ["a-1", "canary"])
    with transaction(fresh.engine) as session:
        told = [entry for entry in audit.newest(session, limit=10) if entry.action == "tenant.labels"]
    assert [(entry.actor, entry.facts) for entry in told] == [
        ("olga@example.com", {"was": ["old"], "now": ["a-1", "canary"]})
    ]
    assert (await ops.put(PATH, json={"labels": []})).json()["labels"] == []


async def test_tenants_are_listed_by_label(fresh: ControlPlane) -> None:
    for slug, labels in (("acme", ["canary"]), ("beta-inc", []), ("gamma", ["canary", "eu"])):
        await onboarded(fresh, slug=slug, labels=labels)
    support = fresh.staff(StaffRole.SUPPORT)
    first = (await support.get("/admin/tenants", params={"label": "canary", "limit": 1})).json()
    assert [row["slug"] for row in first["items"]] == ["acme"]
    second = (await support.get("/admin/tenants", params={"label": "canary", "after": first["next"]})).json()
    assert ([row["slug"] for row in second["items"]], second["next"]) == (["gamma"], None)
    assert (await support.get("/admin/tenants?label=nobody")).json()["items"] == []


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "invalid"),
        ({"labels": "canary"}, "invalid"),
        ({"labels": None}, "invalid"),
        ({"labels": [1]}, "invalid"),
        ({"labels": ["canary"], "more": 1}, "invalid"),
        ({"labels": [f"l{number}" for number in range(21)]}, "invalid"),
        ({"labels": ["a" * 64]}, "invalid"),
        ({"labels": ["ä"]}, "invalid"),
        ({"labels": ["Canary"]}, "label_invalid"),
        ({"labels": ["a" * 41]}, "label_invalid"),
        ({"labels": ["fine", "not fine"]}, "label_invalid"),
        ({"labels": ["-a"]}, "label_invalid"),
    ],
)
async def test_bad_labels_get_a_clear_answer_and_change_nothing(
    fresh: ControlPlane, body: dict[str, Any], code: str
) -> None:
    await onboarded(fresh, labels=["kept"])
    ops = fresh.staff(StaffRole.OPS)
    answer = await ops.put(PATH, json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    if code == "label_invalid":
        assert "1 to 40 small letters, digits and hyphens" in answer.json()["detail"]
    assert (await ops.get("/admin/tenants/acme")).json()["labels"] == ["kept"]


async def test_a_bad_label_makes_and_finds_no_tenant(fresh: ControlPlane) -> None:
    answer = await onboarded(fresh, labels=["Canary"])
    assert (answer.status_code, answer.json()["code"]) == (422, "label_invalid")
    assert fresh.workflows() == []
    listed = await fresh.staff().get("/admin/tenants", params={"label": "a b"})
    assert (listed.status_code, listed.json()["code"]) == (422, "label_invalid")


async def test_labels_of_an_unknown_tenant_are_not_found(shared: ControlPlane) -> None:
    for tenant in ("nobody", UNKNOWN_ID):
        answer = await shared.staff().put(f"/admin/tenants/{tenant}/labels", json={"labels": ["a"]})
        assert answer.status_code == 404
