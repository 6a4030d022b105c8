"""Repairs that are killed at any statement of theirs: the next run ends them, and nobody else was touched."""

from __future__ import annotations

import pytest

from control_plane.domain.ids import new_id
from control_plane.domain.names import bridge_schema, silo_database
from control_plane.registry.engine import control_engine
from control_plane.registry.workflows import DurableWorkflows
from control_plane.routing.seam import load_tenant_app
from control_plane.settings import Settings
from control_plane.stores.master_keys import open_keyring
from provisioning.estate import Estate
from provisioning.repair import repairing
from provisioning.repair.carry_out import Tools
from tests.doctor.patient import Patient
from tests.provisioning.killing import kill_after
from tests.repair.mending import AT_ONCE, assert_well, mend, repairs
from tests.service_user import killed_as_service_user

STRIDE = 7


def repair_until_statement(settings: Settings, number: int) -> None:
    """All that there is to repair; the process is killed when it has sent so many statements to any database."""
    engine = control_engine(settings.control_dsn, timeout_s=10)
    keyring = open_keyring(settings)
    estate = Estate(settings=settings, engine=engine, keyring=keyring, app=load_tenant_app(settings.tenant_app))
    workflows = DurableWorkflows(engine)
    planned = repairing.diagnose(estate, workflows, settle=lambda: None, grace=AT_ONCE).repairs
    kill_after(number)
    for _ in repairing.repair(Tools(estate=estate, workflows=workflows, actor="tests"), planned, yes=True):
        pass


def damage(patient: Patient) -> None:
    """Some of everything that is dropped, and of what is put back in several statements."""
    silo, stranger = silo_database(new_id()), new_id()
    patient.do("beta", [f"CREATE DATABASE {silo}", f"REVOKE ALL ON DATABASE {silo} FROM PUBLIC"])
    patient.do("beta", [f"CREATE ROLE {silo} LOGIN", f"GRANT CONNECT ON DATABASE {silo} TO {silo}"])
    patient.do("silo", [f"GRANT SELECT ON users TO {silo}", "REVOKE ALL ON messages FROM {login}"])
    patient.do("silo", ["GRANT TRUNCATE ON users TO {login}", "ALTER ROLE {login} SET search_path = elsewhere"])
    patient.do("bridge", [f"CREATE SCHEMA {bridge_schema(stranger)} AUTHORIZATION copyhold_owner"])
    patient.do("pool", [f"INSERT INTO tenancy.fences (tenant_id, epoch, state) VALUES ('{stranger}', 1, 'open')"])
    patient.do("other pool", ["DELETE FROM tenancy.fences WHERE tenant_id = '{tenant}'"])


@pytest.mark.slow
def test_killed_at_any_statement_it_is_ended_by_the_next(patient: Patient) -> None:
    number, killed = 1, True
    while killed:
        damage(patient)
        killed = killed_as_service_user(
            patient.platform.data, repair_until_statement, patient.platform.settings, number
        )
        if left := repairs(patient):
            mend(patient, planned=left)
        assert_well(patient)
        number += STRIDE
    assert number > 10 * STRIDE
