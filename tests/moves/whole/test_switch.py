"""The moments around the switch: what fails before its commit leaves the tenant served where it was."""

from __future__ import annotations

from uuid import UUID

import pytest

from control_plane.domain.moving import Phase
from control_plane.domain.tenant import Model
from tests.moves.whole.journeys import assert_one_home, begin, move_of, wait_for
from tests.moves.whole.traffic import assert_nothing_lost, traffic_of
from tests.platform_under_test import PlatformUnderTest
from tests.provisioning.workers import control, workers_alone
from tests.waiting import until

pytestmark = pytest.mark.slow


def test_a_route_that_is_not_what_it_was_is_not_switched(town: PlatformUnderTest) -> None:
    """As if somebody had restored an old control database: the epoch is compared, and all is as before."""
    tenant = town.tenant(Model.POOL)
    with traffic_of(tenant) as traffic:
        with workers_alone(town) as workers:
            move_id = begin(tenant, Model.BRIDGE)
            _refuse_switches(town, tenant.id)
            try:
                workers.start("mover")
                row = wait_for(town, move_id, Phase.CALLED_OFF)
            finally:
                _allow_switches(town)
        seen = traffic.requests
        until(lambda: traffic.requests > seen + 5 or bool(traffic.errors), what="it works on")
    assert row.reason
    assert move_of(town, move_id).switched_at is None
    assert_nothing_lost(tenant, traffic)
    assert_one_home(tenant, Model.POOL, 1)


def _refuse_switches(town: PlatformUnderTest, tenant_id: UUID) -> None:
    with control(town) as connection:
        connection.execute(
            "CREATE FUNCTION no_switch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            f" IF NEW.tenant_id = '{tenant_id}' THEN RETURN NULL; END IF; RETURN NEW; END $$;"
            " CREATE TRIGGER no_switch BEFORE UPDATE ON routes FOR EACH ROW EXECUTE FUNCTION no_switch()"
        )


def _allow_switches(town: PlatformUnderTest) -> None:
    with control(town) as connection:
        connection.execute("DROP TRIGGER no_switch ON routes; DROP FUNCTION no_switch()")
