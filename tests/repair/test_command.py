"""`copyhold doctor --repair`: what it prints, what it asks for, and how it ends."""

from __future__ import annotations

import json
import subprocess

from control_plane.domain.ids import new_id
from control_plane.domain.names import silo_database
from control_plane.registry.engine import transaction
from control_plane.registry.tables import AuditRow
from tests.doctor.patient import CONTROL, Patient
from tests.platform_under_test import copyhold
from tests.repair.mending import assert_well


def doctor(patient: Patient, *options: str) -> subprocess.CompletedProcess[str]:
    """The command as somebody runs it."""
    return copyhold("doctor", "--data", str(patient.platform.data), *options, check=False)


def test_on_a_healthy_platform_nothing_is_done(patient: Patient) -> None:
    done = doctor(patient, "--repair", "--yes")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "0 repairs done, 0 left"


def test_a_dry_run_says_what_would_be_done_and_changes_nothing(patient: Patient) -> None:
    patient.do("pool", ["GRANT TRUNCATE ON messages TO {login}"])
    done = doctor(patient, "--repair", "--dry-run")
    assert done.returncode == 1
    assert done.stdout.splitlines()[:3] == [
        "would  unhardened  alpha/pool_1: harden its catalogue, and give its login anew exactly what it needs",
        "       because: a home is not closed as homes are built now",
        "1 repair planned; nothing was changed",
    ]
    told = doctor(patient)
    assert "  → copyhold doctor --repair mends it" in told.stdout.splitlines()
    done = doctor(patient, "--repair")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1] == "1 repair done, 0 left"
    with transaction(patient.platform.engine) as session:
        assert session.query(AuditRow).filter(AuditRow.action == "repair.unhardened").count() == 1
    assert_well(patient)


def test_json_tells_of_each_finding_whether_it_can_be_mended(patient: Patient) -> None:
    patient.do("pool", ["ALTER TABLE messages NO FORCE ROW LEVEL SECURITY", "GRANT TRUNCATE ON messages TO {login}"])
    patient.do(CONTROL, ["UPDATE tenants SET status = 'suspended' WHERE id = '{tenant_silo}'"])
    patient.do("other silo", ["UPDATE tenancy.fences SET state = 'suspended'"])
    report = json.loads(doctor(patient, "--json").stdout)
    ways = {(finding["check"], finding["repair"]) for finding in report["findings"]}
    assert ways >= {
        ("rls_not_forced", None),
        ("login_privileges", "safe"),
        ("fence_state", "safe"),
        ("fence_state", "dangerous"),
    }
    patient.do("pool", ["ALTER TABLE messages FORCE ROW LEVEL SECURITY"])
    done = doctor(patient, "--repair", "--json")
    assert done.returncode == 1
    assert sorted(repair["done"] for repair in json.loads(done.stdout)["repairs"]) == [False, True, True]
    patient.do(CONTROL, ["UPDATE tenants SET status = 'active' WHERE id = '{tenant_silo}'"])
    assert doctor(patient, "--repair", "--yes", "--json").returncode == 0
    assert_well(patient)


def test_a_young_orphan_is_told_of_and_left(patient: Patient) -> None:
    name = silo_database(new_id())
    patient.do("beta", [f"CREATE DATABASE {name}", f"REVOKE ALL ON DATABASE {name} FROM PUBLIC"])
    done = doctor(patient, "--repair", "--yes")
    assert done.returncode == 1
    assert done.stdout.splitlines()[0].endswith("it is younger than 10 minutes")
    patient.do("beta", [f"DROP DATABASE {name}"])


def test_yes_and_dry_run_go_with_repair(patient: Patient) -> None:
    for option in ("--yes", "--dry-run"):
        done = doctor(patient, option)
        assert (done.returncode, done.stdout) == (2, "")
        assert "go with --repair" in done.stderr
