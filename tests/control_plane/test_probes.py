"""Probes and metrics."""

from __future__ import annotations

from sqlalchemy import text

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


async def test_metrics_tell_of_open_moves_by_phase_and_of_what_slots_keep(fresh: ControlPlane) -> None:
    tenant = await fresh.active_tenant()
    with fresh.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO moves (id, tenant_id, actor, source_id, model, phase, epoch, undo_window_s, created_at)"
                " SELECT gen_random_uuid(), tenant_id, 'tests', home_id, 'silo', phase, 1, 0, now() - age"
                "   FROM routes, (VALUES ('kept', interval '90 s'), ('done', '1 day'), ('called_off', '1 day'))"
                "        AS of (phase, age)"
                "  WHERE tenant_id = :tenant"
            ),
            {"tenant": tenant.id},
        )
        connection.execute(text("UPDATE homes SET state = 'kept'"))
        connection.execute(text("UPDATE servers SET move_slots = 2, move_wal_bytes = 1024 WHERE name = 'beta'"))
    lines = dict(line.rsplit(" ", 1) for line in (await fresh.client().get("/metrics")).text.splitlines())
    assert lines['copyhold_moves{phase="kept"}'] == "1.0"
    assert lines['copyhold_moves{phase="copying"}'] == "0.0"
    assert 90 <= float(lines['copyhold_move_oldest_seconds{phase="kept"}']) < 3600
    assert lines["copyhold_homes_kept"] == "1.0"
    assert lines['copyhold_move_slots{server="beta"}'] == "2.0"
    assert lines['copyhold_move_slot_wal_bytes{server="beta"}'] == "1024.0"
    assert lines['copyhold_move_slots{server="alpha"}'] == "0.0"
    assert not {'copyhold_moves{phase="done"}', 'copyhold_moves{phase="called_off"}'} & set(lines)
