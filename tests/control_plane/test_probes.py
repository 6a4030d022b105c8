"""Probes and metrics."""

from __future__ import annotations

from tests.control_plane.house import ControlPlane


async def test_a_process_that_lives_says_so(shared: ControlPlane) -> None:
    answer = await shared.client().get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_readiness_tells_of_the_roll_and_the_control_database(fresh: ControlPlane) -> None:
    await fresh.active_tenant()
    answer = await fresh.client().get("/readyz")
    assert answer.status_code == 200
    body = answer.json()
    assert body["control_database"] == "answers"
    assert body["roll"]["tenants"] == 1
    assert 0 <= body["roll"]["age_s"] < 60


async def test_metrics_count_tenants_without_naming_them(fresh: ControlPlane) -> None:
    tenant = await fresh.active_tenant()
    answer = await fresh.client().get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    assert 'copyhold_tenants{model="pool",status="active"} 1.0' in answer.text
    assert "copyhold_roll_age_seconds" in answer.text
    assert tenant.slug not in answer.text
