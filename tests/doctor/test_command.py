"""`copyhold doctor`: what it prints, and how it ends."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.doctor.patient import Patient
from tests.platform_under_test import copyhold


def doctor(patient: Patient, *options: str) -> subprocess.CompletedProcess[str]:
    """The command as somebody runs it."""
    return copyhold("doctor", "--data", str(patient.platform.data), *options, check=False)


@contextmanager
def harmed(patient: Patient, place: str, harm: str, cure: str) -> Iterator[None]:
    """The platform with something done to it."""
    patient.do(place, [harm])
    try:
        yield
    finally:
        patient.do(place, [cure])


def test_a_healthy_platform_ends_with_0_and_says_what_was_looked_at(patient: Patient) -> None:
    done = doctor(patient)
    assert (done.returncode, done.stderr) == (0, "")
    looked_at, summary = done.stdout.splitlines()[-2:]
    assert looked_at.startswith("looked at 2 servers, 4 databases, 20 tables, 5 tenants in ")
    assert summary.startswith("0 errors, ")


def test_an_error_ends_with_1_and_says_what_to_do(patient: Patient) -> None:
    with harmed(patient, "pool", "ALTER TABLE messages NO FORCE ROW LEVEL SECURITY", _FORCE):
        done = doctor(patient)
    assert done.returncode == 1
    assert done.stdout.splitlines()[:3] == [
        "error  rls_not_forced",
        "  alpha/pool_1  public.messages  row-level security is not forced: it does not hold for the table's owner",
        "  → ALTER TABLE public.messages FORCE ROW LEVEL SECURITY",
    ]
    assert done.stdout.splitlines()[-1].startswith("1 error, ")


def test_warnings_alone_end_with_0(patient: Patient) -> None:
    with harmed(patient, "alpha", "CREATE ROLE analyst BYPASSRLS", "DROP ROLE analyst"):
        done = doctor(patient)
    assert done.returncode == 0
    assert "warning  role_powers\n  alpha  analyst  " in done.stdout
    assert done.stdout.splitlines()[-1].startswith("0 errors, ")


def test_json_has_all_of_a_finding(patient: Patient) -> None:
    with harmed(patient, "pool", "ALTER TABLE messages NO FORCE ROW LEVEL SECURITY", _FORCE):
        done = doctor(patient, "--json")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert report["errors"] == 1
    assert report["looked_at"]["tables"] == 20
    assert report["findings"][0] == {
        "severity": "error",
        "check": "rls_not_forced",
        "server": "alpha",
        "database": "pool_1",
        "object": "public.messages",
        "what": "row-level security is not forced: it does not hold for the table's owner",
        "remedy": "ALTER TABLE public.messages FORCE ROW LEVEL SECURITY",
        "repair": None,
    }
    assert report["repairs"] == []


def test_a_name_cannot_command_the_terminal(patient: Patient) -> None:
    with harmed(patient, "alpha", 'CREATE ROLE "a\x1b[2Jb" BYPASSRLS', 'DROP ROLE "a\x1b[2Jb"'):
        done = doctor(patient)
    assert "\x1b" not in done.stdout
    assert '"a?[2Jb"' in done.stdout


_FORCE = "ALTER TABLE messages FORCE ROW LEVEL SECURITY"
