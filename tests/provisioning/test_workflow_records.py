"""How workflows end is on record, in words; what failed is gone on with; work wakes the worker."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID, uuid4

import pytest
from dbos import DBOSClient

from control_plane.domain.server import Server, ServerStatus
from control_plane.domain.tenant import Model, Plan, Status
from control_plane.registry import progress, servers, tenants, workflow_records
from control_plane.registry.engine import transaction
from control_plane.registry.tables import WorkflowRow
from control_plane.registry.workflow_records import DONE, FAILED, UNENDED
from control_plane.registry.workflows import APPLICATION, PROVISION
from control_plane.tenants import retrying, service
from control_plane.tenants.retrying import NothingToRetryError
from provisioning.steps import SEQUENCES
from provisioning.waking import Bell
from provisioning.worker import AT_ONCE, register_queue
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest
from tests.waiting import DEADLINE_S, until

NEVER_S = 3600.0


def ended(platform: PlatformUnderTest, tenant_id: UUID) -> WorkflowRow:
    """The record of what was last started for the tenant, when that has ended."""
    found: list[WorkflowRow] = []

    def has_ended() -> bool:
        with transaction(platform.engine) as session:
            workflow_id = tenants.get(session, tenant_id).workflow_id
            assert workflow_id is not None
            found[:] = [workflow_records.get(session, workflow_id)]
        return found[0].state not in UNENDED

    until(has_ended, what="the newest workflow has ended")
    return found[0]


def retried(platform: PlatformUnderTest, tenant_id: UUID) -> WorkflowRow:
    """The record of what went on with a failure, when that has ended."""
    with transaction(platform.engine) as session:
        row = tenants.get(session, tenant_id, lock=True)
        again = retrying.retry(session, platform.workflows, row, "tests")
    record = ended(platform, tenant_id)
    assert record.id == again
    return record


@contextmanager
def without_its_fence(tenant: TenantUnderTest) -> Iterator[None]:
    """The home has no fence for the tenant until the block ends."""
    with tenant.platform.home_of(tenant) as home:
        fence = home.execute("DELETE FROM tenancy.fences WHERE tenant_id = %s RETURNING *", [tenant.id]).fetchone()
        assert fence is not None
        try:
            yield
        finally:
            values = ", ".join(["%s"] * len(fence))
            home.execute(f"INSERT INTO tenancy.fences VALUES ({values})".encode(), fence)


def test_a_home_that_was_made_is_on_record_as_done(platform: PlatformUnderTest) -> None:
    tenant = platform.tenant("pool")
    record = ended(platform, tenant.id)
    assert (record.kind, record.state, record.error, record.actor) == (PROVISION, DONE, None, "tests")
    assert record.ended_at is not None
    with transaction(platform.engine) as session:
        steps = [row.step for row in progress.of_workflow(session, record.id)]
    assert steps == [step.__name__ for step in SEQUENCES[PROVISION]]


def test_a_suspending_that_fails_ends_with_the_reason_and_is_gone_on_with(platform: PlatformUnderTest) -> None:
    tenant = platform.tenant("pool")
    with without_its_fence(tenant):
        with transaction(platform.engine) as session:
            service.suspend(session, platform.workflows, tenants.get(session, tenant.id, lock=True), "tests")
        record = ended(platform, tenant.id)
    assert (record.kind, record.state) == ("suspend", FAILED)
    assert record.error == "The home has no fence for this tenant."
    again = retried(platform, tenant.id)
    assert (again.kind, again.state, again.error) == ("suspend", DONE, None)
    with platform.home_of(tenant) as home:
        state = home.execute("SELECT state FROM tenancy.fences WHERE tenant_id = %s", [tenant.id]).fetchone()
    assert state == ("suspended",)


def test_a_resuming_that_fails_ends_with_the_reason_and_is_gone_on_with(platform: PlatformUnderTest) -> None:
    tenant = platform.tenant("bridge")
    with transaction(platform.engine) as session:
        service.suspend(session, platform.workflows, tenants.get(session, tenant.id, lock=True), "tests")
    assert ended(platform, tenant.id).state == DONE
    with without_its_fence(tenant):
        with transaction(platform.engine) as session:
            service.resume(session, platform.workflows, tenants.get(session, tenant.id, lock=True), "tests")
        record = ended(platform, tenant.id)
    assert (record.kind, record.state) == ("resume", FAILED)
    assert platform.status(tenant.id)[0] is Status.SUSPENDED
    assert retried(platform, tenant.id).state == DONE
    until(lambda: tenant.http.get("/api/me").status_code == 200, what="it is served again")


def test_what_did_not_fail_is_not_gone_on_with(platform: PlatformUnderTest) -> None:
    tenant = platform.tenant("pool")
    ended(platform, tenant.id)
    with pytest.raises(NothingToRetryError, match="its provision is done"), transaction(platform.engine) as session:
        retrying.retry(session, platform.workflows, tenants.get(session, tenant.id, lock=True), "tests")


@pytest.mark.slow
def test_a_making_that_was_tried_again_in_vain_ends_with_the_last_reason(shop: PlatformUnderTest) -> None:
    beta = shop.server("beta")
    unreachable = {"name": "delta", "provider": "existing", "host": "/nonexistent", "port": 1, "connections": 20}
    delta = {**unreachable, "region": "local", "models": (Model.SILO,), "capacity": 10, "status": ServerStatus.ACTIVE}
    with transaction(shop.engine) as session:
        servers.register(session, Server(**delta))  # type: ignore[arg-type]
    slug = f"t{uuid4().hex[:10]}"
    wish = service.TenantWish(slug=slug, name=slug, plan=Plan.STARTER, model=Model.SILO, server="delta")
    with transaction(shop.engine) as session:
        tenant_id = service.create(session, shop.workflows, wish, "tests").id
    record = ended(shop, tenant_id)
    assert record.state == FAILED
    assert "/nonexistent" in (record.error or "")
    assert "\n" not in (record.error or "")
    assert shop.status(tenant_id) == (Status.FAILED, record.error)
    with transaction(shop.engine) as session:
        servers.register(session, Server(**{**delta, "host": beta.host, "port": beta.port}))  # type: ignore[arg-type]
    assert retried(shop, tenant_id).state == DONE
    assert shop.status(tenant_id) == (Status.ACTIVE, None)


def test_a_bell_ends_a_wait_and_stops_nothing() -> None:
    bell, heard = Bell(), threading.Event()

    def wait() -> None:
        assert not bell.wait(NEVER_S)
        heard.set()
        assert bell.wait(NEVER_S)

    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    bell.ring()
    assert heard.wait(DEADLINE_S)
    bell.set()
    waiting.join(DEADLINE_S)
    assert not waiting.is_alive()


@contextmanager
def polling_every(platform: PlatformUnderTest, seconds: float) -> Iterator[None]:
    """The worker's queue as it would be with another poll."""
    client = DBOSClient(system_database_engine=platform.engine, application_name=APPLICATION)
    register_queue(client, seconds)
    try:
        yield
    finally:
        register_queue(client)
        client.destroy()


def test_work_wakes_a_worker_that_would_not_look_for_an_hour(shop: PlatformUnderTest) -> None:
    with polling_every(shop, NEVER_S):
        for _ in range(3):  # The first one has it read how long it is to wait.
            shop.tenant("pool")
    shop.tenant("pool")


def test_more_than_a_worker_does_at_once_waits_for_no_poll(shop: PlatformUnderTest) -> None:
    with polling_every(shop, NEVER_S):
        shop.tenant("pool")
        made = []
        for _ in range(2 * AT_ONCE):
            slug = f"t{uuid4().hex[:10]}"
            wish = service.TenantWish(slug=slug, name=slug, plan=Plan.STARTER, model=Model.POOL)
            with transaction(shop.engine) as session:
                made.append(service.create(session, shop.workflows, wish, "tests").id)
        for tenant_id in made:
            shop.wait_for(tenant_id, Status.ACTIVE)
    shop.tenant("pool")
