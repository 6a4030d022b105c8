"""A move whose record is gone outlives nothing: what is left of it is found, and taken to its end."""

from __future__ import annotations

from uuid import UUID

import pytest

from control_plane.domain.moving import Phase
from control_plane.domain.names import bridge_schema
from control_plane.domain.tenant import Model
from provisioning.repair.repairing import NEEDS_YES
from provisioning.repair.repairs import Kind
from tests.doctor.patient import CONTROL, Patient
from tests.moves.whole.journeys import assert_one_home, fences_of, moved
from tests.platform_under_test import TenantUnderTest
from tests.repair.mending import kinds, mend, mended, repairs
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("well_afterwards")]


def forget(patient: Patient, tenant: TenantUnderTest) -> None:
    """The records of its moves are gone, as in an older backup of the control database."""
    patient.do(CONTROL, [f"DELETE FROM moves WHERE tenant_id = '{tenant.id}'"])


def recovered(patient: Patient, tenant: TenantUnderTest) -> None:
    """A worker has come to the end of what was put on record again."""

    def ended() -> bool:
        with patient.platform.engine.connect() as connection:
            query = "SELECT phase FROM moves WHERE tenant_id = %s"
            phases = [phase for (phase,) in connection.exec_driver_sql(query, (tenant.id,))]
        return bool(phases) and set(phases) <= {Phase.DONE, Phase.CALLED_OFF}

    until(ended, what="it has come to its end", deadline_s=60)


def test_the_old_home_and_the_way_back_of_a_lost_move_go(patient: Patient) -> None:
    tenant = patient.platform.tenant("pool")
    moved(tenant, Model.SILO)
    forget(patient, tenant)
    found = [Kind.SLOT_ORPHAN, Kind.PUBLICATION_ORPHAN, Kind.MOVE_LOST]
    until(lambda: kinds(patient) == found, what="nobody reads the slot any more", deadline_s=60)
    # The publication alone drops nothing.
    assert [outcome.left for outcome in mended(patient, yes=False)] == [NEEDS_YES, None, NEEDS_YES]
    assert sorted(state for _, state in fences_of(tenant).values()) == ["closed", "open"]
    planned = [each for each in repairs(patient) if each.kind is Kind.MOVE_LOST]
    mend(patient)
    assert [outcome.left for outcome in mended(patient, planned=planned)] == ["No move of this tenant is missing."]
    recovered(patient, tenant)
    assert_one_home(tenant, Model.SILO, 2)


def test_a_tenant_on_its_way_whose_move_is_lost_is_served_where_it_was(patient: Patient) -> None:
    tenant = patient.platform.tenant("pool")
    home, schema = patient.tenants["bridge"].route.home, bridge_schema(tenant.id)
    assert home is not None
    estate = patient.estate
    estate.builder(patient.platform.server("alpha")).build_schema(home.database, schema, estate.chain.head)
    patient.do("bridge", [f"INSERT INTO tenancy.fences (tenant_id, epoch, state) VALUES ('{tenant.id}', 2, 'frozen')"])
    patient.do("pool", [f"UPDATE tenancy.fences SET state = 'frozen' WHERE tenant_id = '{tenant.id}'"])
    put_in_the_midst(patient, tenant, home.database_id, schema)
    assert kinds(patient) == [Kind.MOVE_LOST]
    mend(patient)
    recovered(patient, tenant)
    assert_one_home(tenant, Model.POOL, 1)


def test_a_tenant_that_has_arrived_whose_move_is_lost_is_let_in(patient: Patient) -> None:
    """As after the switch: the new home is frozen still, the old one may be open."""
    tenant = patient.platform.tenant("pool")
    moved(tenant, Model.BRIDGE)
    forget(patient, tenant)
    patient.do(CONTROL, [f"UPDATE tenants SET status = 'moving' WHERE id = '{tenant.id}'"])
    patient.do("bridge", [f"UPDATE tenancy.fences SET state = 'frozen' WHERE tenant_id = '{tenant.id}'"])
    until(lambda: Kind.MOVE_LOST in kinds(patient), what="it is found", deadline_s=60)
    until(lambda: all(outcome.left is None for outcome in mended(patient)), what="all is mended", deadline_s=60)
    recovered(patient, tenant)
    assert_one_home(tenant, Model.BRIDGE, 2)


def put_in_the_midst(patient: Patient, tenant: TenantUnderTest, database_id: UUID, schema: str) -> None:
    """As the roll has a tenant whose new home is being filled."""
    home = (
        "INSERT INTO homes (id, tenant_id, database_id, schema, model, state)"
        f" VALUES (gen_random_uuid(), '{tenant.id}', '{database_id}', '{schema}', 'bridge', 'filling')"
    )
    target = f"INSERT INTO targets (database_id, schema, revision) VALUES ('{database_id}', '{schema}', '{{head}}')"
    patient.do(CONTROL, [home, target, f"UPDATE tenants SET status = 'moving' WHERE id = '{tenant.id}'"])
