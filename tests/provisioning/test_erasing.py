"""Erasing a closed tenant: nothing of it is left, wherever it is cut short, and all of everybody else."""

from __future__ import annotations

from datetime import timedelta
from itertools import count
from uuid import UUID, uuid4

import psycopg
import pytest

from control_plane.domain.ids import new_id
from control_plane.domain.tenant import Model, Plan, Status
from control_plane.doors import SOCKETS
from control_plane.registry import fleet, tenants, workflow_records
from control_plane.registry.engine import transaction
from control_plane.registry.workflows import ERASE, PROVISION
from control_plane.tenants import service
from provisioning import erasing
from provisioning.steps import SEQUENCES
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest
from tests.provisioning import worker
from tests.provisioning.erased import (
    AT_ONCE,
    MODELS,
    NOBODY,
    Place,
    close,
    fence_of,
    left_of,
    place_of,
    reopen,
    row_of,
    rows_of,
    tombstone,
    with_things,
)
from tests.provisioning.wishes import wished
from tests.provisioning.workers import workers_alone
from tests.service_user import FailedThereError, as_service_user, killed_as_service_user
from tests.waiting import until


def erasing_of(tenant: TenantUnderTest) -> Place:
    """Have it closed so that the test is the one who erases it; where it lived."""
    place = place_of(tenant)
    close(tenant, NOBODY, grace=AT_ONCE)
    return place


@pytest.mark.slow
@MODELS
def test_every_step_of_erasing_may_be_repeated(platform: PlatformUnderTest, model: Model) -> None:
    tenant = with_things(platform, model)
    place = erasing_of(tenant)
    for _ in range(2):
        as_service_user(platform.data, worker.carry_out, platform.settings, tenant.id, ERASE, 2)
        assert left_of(platform, tenant.id, model, place) == tombstone(model)


@pytest.mark.slow
@MODELS
def test_workers_that_are_killed_ever_a_little_later_erase_it_in_the_end(
    platform: PlatformUnderTest, model: Model
) -> None:
    tenant = with_things(platform, model)
    place = erasing_of(tenant)
    for number in count(1, 3):
        work = worker.carry_out_until_statement
        if not killed_as_service_user(platform.data, work, platform.settings, tenant.id, ERASE, number):
            break
    assert number > len(SEQUENCES[ERASE])
    assert left_of(platform, tenant.id, model, place) == tombstone(model)


@pytest.mark.slow
@pytest.mark.parametrize("name", [step.__name__ for step in SEQUENCES[ERASE]])
@pytest.mark.parametrize("closed", [False, True], ids=["active", "closing"])
def test_no_step_of_erasing_touches_a_tenant_that_is_not_to_be_erased(
    platform: PlatformUnderTest, pool_tenant: TenantUnderTest, name: str, closed: bool
) -> None:
    tenant = with_things(platform, Model.POOL) if closed else pool_tenant
    if closed:
        close(tenant, NOBODY)
    before, row = rows_of(tenant), row_of(tenant)
    if name == "close_fence":
        as_service_user(platform.data, worker.step, platform.settings, tenant.id, name)
    else:
        with pytest.raises(FailedThereError, match="NotErasedError"):
            as_service_user(platform.data, worker.step, platform.settings, tenant.id, name)
    assert rows_of(tenant) == before
    assert (row_of(tenant).status, fence_of(tenant)) == (
        row.status,
        "closed" if closed and name == "close_fence" else "open",
    )


def failed_at(platform: PlatformUnderTest, model: Model, steps: int) -> UUID:
    """A tenant whose making failed after so many steps."""
    tenant_id = wished(platform, model)
    killed_as_service_user(platform.data, worker.provision_until, platform.settings, tenant_id, steps)
    with transaction(platform.engine) as session:
        row = tenants.get(session, tenant_id, lock=True)
        tenants.change_status(row, Status.FAILED, failure="the disk is full")
    return tenant_id


@pytest.mark.slow
@MODELS
@pytest.mark.parametrize("steps", range(len(SEQUENCES[PROVISION])))
def test_of_one_that_failed_what_was_made_goes_too(platform: PlatformUnderTest, model: Model, steps: int) -> None:
    tenant_id = failed_at(platform, model, steps)
    with transaction(platform.engine) as session:
        slug = tenants.get(session, tenant_id).slug
    tenant = TenantUnderTest(platform=platform, id=tenant_id, slug=slug, model=model, key="")
    place = place_of(tenant) if steps else None
    close(tenant, platform.workflows, grace=AT_ONCE, export=True)
    until(lambda: platform.status(tenant_id)[0] is Status.CLOSED, what="it is closed")
    if place is None:
        assert left_of(platform, tenant_id, Model.POOL, NOWHERE) == [("tenant", "closed", True)]
    else:
        assert left_of(platform, tenant_id, model, place) == tombstone(model)


NOWHERE = Place("alpha", UUID(int=0), "pool_1", "pool_1", "public")


def test_rows_go_some_at_a_time_in_whatever_order(platform: PlatformUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    tenant, neighbour = with_things(platform, Model.POOL), with_things(platform, Model.POOL)
    others = rows_of(neighbour)
    monkeypatch.setattr(erasing, "BATCH_ROWS", 2)
    erasing.erase_rows(SOCKETS, platform.server("alpha"), "pool_1", "public", tenant.id)
    assert {table: number for table, (number, _) in rows_of(tenant).items() if number} == {}
    assert rows_of(neighbour) == others


def test_a_table_that_somebody_holds_is_waited_for_and_named(
    platform: PlatformUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = with_things(platform, Model.BRIDGE)
    monkeypatch.setattr(erasing, "_PATIENTLY", psycopg.sql.SQL("SET lock_timeout = '100ms'"))
    with platform.home_of(tenant) as home, home.transaction():
        home.execute("SELECT FROM messages LIMIT 1")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            erasing.drop_schema(SOCKETS, platform.server("alpha"), "bridge_1", f"t_{tenant.id.hex}")
    assert rows_of(tenant)["messages"][0] > 0


@pytest.mark.parametrize("model", [Model.BRIDGE, Model.SILO], ids=str)
def test_a_run_over_the_fleet_is_not_deprived_of_a_target(shop: PlatformUnderTest, model: Model) -> None:
    tenant = with_things(shop, model)
    before, place = rows_of(tenant), place_of(tenant)
    with fleet.holding_fleet(shop.engine, new_id()):
        close(tenant, shop.workflows, grace=AT_ONCE)
        until(lambda: erasing_state(tenant) == ("failed", True), what="the erasing has failed, and says why")
        assert rows_of(tenant) == before
    close(tenant, shop.workflows, grace=AT_ONCE)
    shop.wait_for(tenant.id, Status.CLOSED)
    assert left_of(shop, tenant.id, model, place) == tombstone(model)


def erasing_state(tenant: TenantUnderTest) -> tuple[str, bool]:
    """The state of its newest workflow, and whether that tells of a run over the fleet."""
    with transaction(tenant.platform.engine) as session:
        record = workflow_records.get(session, str(tenants.get(session, tenant.id).workflow_id))
        return record.state, "run over the fleet" in (record.error or "")


@pytest.mark.slow
@MODELS
def test_what_became_due_while_no_worker_ran_is_erased_when_one_does(shop: PlatformUnderTest, model: Model) -> None:
    tenant = with_things(shop, model)
    place = place_of(tenant)
    with workers_alone(shop) as workers:
        close(tenant, shop.workflows, grace=timedelta(milliseconds=1))
        assert row_of(tenant).status == Status.CLOSING
        workers.start(f"worker-{uuid4().hex[:6]}")
        shop.wait_for(tenant.id, Status.CLOSED)
        assert left_of(shop, tenant.id, model, place) == tombstone(model)


@pytest.mark.slow
@MODELS
def test_one_that_failed_and_is_had_back_can_be_made_again(platform: PlatformUnderTest, model: Model) -> None:
    tenant_id = failed_at(platform, model, len(SEQUENCES[PROVISION]) - 1)
    with transaction(platform.engine) as session:
        slug = tenants.get(session, tenant_id).slug
    tenant = TenantUnderTest(platform=platform, id=tenant_id, slug=slug, model=model, key="")
    close(tenant, platform.workflows)
    reopen(tenant, platform.workflows)
    until(lambda: platform.status(tenant_id) == (Status.FAILED, "the disk is full"), what="it has failed, as before")
    owner = service.OwnerWish(email=f"owner@{slug}.example", name="Olive Owner")
    wish = service.TenantWish(slug=slug, name=slug, plan=Plan.STARTER, model=model, owner=owner)
    with transaction(platform.engine) as session:
        service.create(session, platform.workflows, wish, "tests")
    until(lambda: platform.status(tenant_id)[0] is Status.ACTIVE, what="it is made")
    assert fence_of(tenant) == "open"
