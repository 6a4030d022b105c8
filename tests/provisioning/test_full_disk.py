"""A server's disk is full while silos are made there: told in words, nothing is half made, with room it goes on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from control_plane.domain.tenant import Model, Status
from control_plane.registry import servers, tenants
from control_plane.registry.engine import transaction
from control_plane.registry.workflow_records import DONE, FAILED
from control_plane.registry.workflows import PROVISION
from control_plane.tenants import retrying
from provisioning.steps import SEQUENCES
from tests.doctor.patient import Patient
from tests.platform.conftest import requires_root
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest, running_platform
from tests.provisioning import stock
from tests.provisioning.lives import Provision, halt_all, newcomer, state_of, wait_until_done, wait_until_ended
from tests.provisioning.workers import workers_alone
from tests.repair.mending import assert_well
from tests.small_disk import NO_SPACE, give_room, small_disk, take_room

pytestmark = [pytest.mark.slow, requires_root]


@pytest.fixture(scope="module")
def tight() -> Iterator[PlatformUnderTest]:
    """A platform whose server beta, where the silos are, has a small disk of its own."""
    with running_platform() as platform, small_disk(platform, "beta"):
        yield platform


def database_of(tenant: TenantUnderTest) -> str:
    """What was chosen for it."""
    with transaction(tenant.platform.engine) as session:
        home = tenants.current_home(session, tenant.id)
        assert home is not None
        return servers.database(session, home.database_id).name


def test_those_that_are_being_made_fail_with_the_reason_and_are_gone_on_with_when_there_is_room(
    tight: PlatformUnderTest,
) -> None:
    undisturbed = newcomer(tight, Model.SILO)
    tight.wait_for(undisturbed.id, Status.ACTIVE)
    first, *others = (step.__name__ for step in SEQUENCES[PROVISION][:-1])
    lives = {name: Provision(tight, Model.SILO) for name in (first, *others)}
    with workers_alone(tight) as workers:
        halt_all(workers, "worker-halting", {life.begin(): f"after {name}" for name, life in lives.items()})
        take_room(tight, "beta")
        workers.kill("worker-halting")
    ends = {name: wait_until_ended(tight, life.workflow_id) for name, life in lives.items()}
    assert ends[first] == FAILED
    assert NO_SPACE in str(state_of(tight, lives[first].workflow_id)[1])
    give_room(tight, "beta")
    databases, logins = stock.on_the_server(tight)
    assert database_of(lives[first].tenant) not in databases | logins, "it is not half made"
    for name, life in lives.items():
        if ends[name] == FAILED:
            assert "\n" not in str(state_of(tight, life.workflow_id)[1])
            with transaction(tight.engine) as session:
                life.workflow_id = retrying.retry_workflow(session, tight.workflows, life.workflow_id, "tests")
        wait_until_done(tight, life.workflow_id)
        assert state_of(tight, life.workflow_id) == (DONE, None)
        life.check(undisturbed)
    assert_well(Patient(platform=tight, tenants={}))
