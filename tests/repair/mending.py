"""Short ways to plan repairs, to have them done, and to see that nobody else was touched."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from control_plane.registry import fleet
from control_plane.registry.engine import transaction
from provisioning.repair import repairing
from provisioning.repair.carry_out import Tools
from provisioning.repair.repairing import Diagnosis, Outcome
from provisioning.repair.repairs import Kind, Repair
from tests.doctor.patient import OF_THE_MACHINE, Patient, as_owner

AT_ONCE = timedelta(0)
"""No grace: what a test plants is young."""


def diagnosed(patient: Patient, *, grace: timedelta = AT_ONCE) -> Diagnosis:
    """What is wrong, and what could be done about it."""
    with as_owner(patient.platform.data):
        return repairing.diagnose(patient.estate, patient.platform.workflows, settle=lambda: None, grace=grace)


def repairs(patient: Patient, *, grace: timedelta = AT_ONCE) -> tuple[Repair, ...]:
    """Those that are planned now."""
    return diagnosed(patient, grace=grace).repairs


def kinds(patient: Patient) -> list[Kind]:
    """Their kinds, in order."""
    return [repair.kind for repair in repairs(patient)]


def mended(patient: Patient, *, yes: bool = True, planned: Sequence[Repair] | None = None) -> list[Outcome]:
    """Do what is planned; what became of each."""
    tools = Tools(estate=patient.estate, workflows=patient.platform.workflows, actor="tests")
    todo = repairs(patient) if planned is None else planned
    with as_owner(patient.platform.data):
        return list(repairing.repair(tools, todo, yes=yes))


def mend(patient: Patient, *, yes: bool = True, planned: Sequence[Repair] | None = None) -> None:
    """Do what is planned; all of it works."""
    outcomes = mended(patient, yes=yes, planned=planned)
    assert outcomes
    assert [outcome.left for outcome in outcomes] == [None] * len(outcomes), outcomes


def assert_well(patient: Patient) -> None:
    """Nothing is wrong, nothing is left to repair, and every tenant is served."""
    diagnosis = diagnosed(patient)
    assert diagnosis.repairs == (), diagnosis.repairs
    found = [each for each in diagnosis.report.findings if each.check not in OF_THE_MACHINE]
    assert found == [], found
    for place, tenant in patient.tenants.items():
        answer = tenant.http.get("/api/me")
        assert answer.status_code == 200, (place, answer.text)


def silo_of_nobody(patient: Patient, name: str) -> None:
    """A finished silo with its login that no roll knows."""
    with transaction(patient.platform.engine) as session:
        wanted = fleet.wanted(session)
    patient.estate.builder(patient.platform.server("beta")).copy_silo(name, wanted)


def there(patient: Patient, server: str, name: str) -> set[str]:
    """What the server has of that name."""
    query = (
        "SELECT 'database' FROM pg_database WHERE datname = %(name)s"
        " UNION ALL SELECT 'role' FROM pg_roles WHERE rolname = %(name)s"
    )
    with patient.platform.superuser(server, "postgres") as admin:
        return {kind for (kind,) in admin.execute(query, {"name": name})}
