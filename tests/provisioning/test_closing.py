"""Closing a tenant: refused at once, had back until its grace has passed, erased then."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy.orm import Session

from control_plane.domain.lifecycle import TransitionError
from control_plane.domain.tenant import Model, Plan, Status
from control_plane.registry import tenants, workflow_records
from control_plane.registry.engine import transaction
from control_plane.registry.tables import WorkflowRow
from control_plane.registry.workflows import ERASE, kind_of
from control_plane.tenants import closing, service
from control_plane.tenants.closing import ErasingError, GraceError
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest
from tests.provisioning import worker
from tests.provisioning.erased import (
    A_WHILE,
    AT_ONCE,
    MODELS,
    NOBODY,
    close,
    fence_of,
    left_of,
    place_of,
    refused,
    reopen,
    row_of,
    rows_of,
    tombstone,
    with_status,
    with_things,
)
from tests.service_user import as_service_user
from tests.waiting import until


@pytest.mark.slow
@MODELS
def test_a_closed_tenant_is_refused_by_route_and_home_and_can_be_had_back(
    platform: PlatformUnderTest, model: Model
) -> None:
    tenant = with_things(platform, model)
    before = rows_of(tenant)
    close(tenant, platform.workflows)
    until(lambda: refused(tenant) == "tenant_closed", what="it is refused")
    until(lambda: fence_of(tenant) == "closed", what="its home refuses it")
    row = row_of(tenant)
    assert row.closing_at is not None
    assert row.closes_at is not None
    assert row.closes_at - row.closing_at == A_WHILE
    reopen(tenant, platform.workflows)
    platform.wait_for(tenant.id, Status.ACTIVE)
    assert fence_of(tenant) == "open"
    until(lambda: refused(tenant) is None, what="it is served")
    assert rows_of(tenant) == before
    row = row_of(tenant)
    assert (row.closing_at, row.closes_at, row.closing_from) == (None, None, None)


def test_a_suspended_tenant_that_is_had_back_is_suspended(platform: PlatformUnderTest) -> None:
    tenant = platform.tenant("pool")
    with transaction(platform.engine) as session:
        service.suspend(session, platform.workflows, tenants.get(session, tenant.id, lock=True), "tests")
    close(tenant, platform.workflows)
    reopen(tenant, platform.workflows)
    platform.wait_for(tenant.id, Status.SUSPENDED)
    assert fence_of(tenant) == "suspended"


@pytest.mark.slow
@MODELS
def test_when_its_grace_has_passed_nothing_of_it_is_left_and_all_of_its_neighbour(
    platform: PlatformUnderTest, model: Model
) -> None:
    tenant, neighbour = with_things(platform, model), with_things(platform, model)
    place, others = place_of(tenant), rows_of(neighbour)
    assert rows_of(tenant)["messages"][0] > 0
    close(tenant, platform.workflows, grace=timedelta(seconds=3))
    assert row_of(tenant).status == Status.CLOSING
    platform.wait_for(tenant.id, Status.CLOSED)
    assert left_of(platform, tenant.id, model, place) == tombstone(model)
    assert rows_of(neighbour) == others
    assert refused(neighbour) is None
    assert refused(tenant) is not None


def test_its_slug_stays_taken(platform: PlatformUnderTest) -> None:
    tenant = platform.tenant("pool")
    close(tenant, platform.workflows, grace=AT_ONCE)
    platform.wait_for(tenant.id, Status.CLOSED)
    wish = service.TenantWish(slug=tenant.slug, name=tenant.slug, plan=Plan.STARTER, model=Model.POOL)
    with pytest.raises(service.SlugTakenError), transaction(platform.engine) as session:
        service.create(session, platform.workflows, wish, "tests")


Wish = Callable[[TenantUnderTest], None]


def closed(tenant: TenantUnderTest) -> None:
    close(tenant, NOBODY)


def back(tenant: TenantUnderTest) -> None:
    reopen(tenant, NOBODY)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wishes", "steps", "ends"),
    [
        ((closed,), ("close_fence",), ("closing", "closed")),
        ((closed, back), ("close_fence", "let_back"), ("active", "open")),
        ((closed, back), ("let_back", "close_fence"), ("active", "open")),
        ((closed, back, closed), ("let_back", "close_fence"), ("closing", "closed")),
        ((closed, back, closed), ("close_fence", "let_back"), ("closing", "closed")),
    ],
)
@pytest.mark.parametrize("times", [1, 2])
def test_the_last_wish_counts_in_whatever_order_the_steps_run(
    platform: PlatformUnderTest, wishes: tuple[Wish, ...], steps: tuple[str, ...], ends: tuple[str, str], times: int
) -> None:
    tenant = platform.tenant("pool")
    for wanted in wishes:
        wanted(tenant)
    for name in steps:
        for _ in range(times):
            as_service_user(platform.data, worker.step, platform.settings, tenant.id, name)
    assert (row_of(tenant).status, fence_of(tenant)) == ends


@pytest.mark.slow
def test_what_makes_a_tenant_active_does_not_revive_one_that_was_closed_since(platform: PlatformUnderTest) -> None:
    """The step was done and not recorded: whoever takes the work over does it again."""
    tenant = platform.tenant("pool")
    close(tenant, NOBODY)
    as_service_user(platform.data, worker.step, platform.settings, tenant.id, "activate")
    assert row_of(tenant).status == Status.CLOSING


def test_it_is_not_erased_once_somebody_wants_it_back(platform: PlatformUnderTest) -> None:
    tenant = platform.tenant("pool")
    close(tenant, NOBODY, grace=A_WHILE)
    reopen(tenant, NOBODY)
    assert row_of(tenant).closes_at is None
    assert begun_of(platform, tenant) == []


def begun_of(platform: PlatformUnderTest, tenant: TenantUnderTest) -> list[str]:
    """Whether a look at what is due begins with it; nothing comes of it."""
    with platform.engine.connect() as connection, connection.begin() as held:
        session = Session(connection)
        begun = [slug for slug in closing.erase_due(session, NOBODY, "tests") if slug == tenant.slug]
        session.flush()
        held.rollback()
    return begun


def test_what_is_due_is_begun_with_once(platform: PlatformUnderTest) -> None:
    tenant = platform.tenant("pool")
    close(tenant, NOBODY, grace=timedelta(days=1))
    assert begun_of(platform, tenant) == []
    with transaction(platform.engine) as first:
        row = tenants.get(first, tenant.id, lock=True)
        row.closes_at = row.closing_at
        first.flush()
        assert closing.erase_due(first, NOBODY, "tests") == [tenant.slug]
        assert begun_of(platform, tenant) == [], "somebody else has it in hand"
    assert kind_of(row_of(tenant).workflow_id) == ERASE
    assert begun_of(platform, tenant) == []


@pytest.mark.slow
def test_an_erasing_that_failed_is_begun_with_again_later(platform: PlatformUnderTest) -> None:
    tenant = platform.tenant("pool")
    close(tenant, NOBODY, grace=AT_ONCE)
    workflow_id = row_of(tenant).workflow_id
    assert workflow_id is not None
    with transaction(platform.engine) as session:
        workflow_records.ended(session, workflow_id, "the server is down")
    assert begun_of(platform, tenant) == []
    with transaction(platform.engine) as session:
        record = session.get_one(WorkflowRow, workflow_id)
        assert record.ended_at is not None
        record.ended_at -= closing.AGAIN_AFTER
    until(lambda: row_of(tenant).status == Status.CLOSED, what="a worker has erased it")


def test_once_erasing_has_begun_it_is_too_late(platform: PlatformUnderTest) -> None:
    tenant = platform.tenant("pool")
    close(tenant, NOBODY, grace=AT_ONCE)
    with pytest.raises(ErasingError, match="too late"):
        reopen(tenant, NOBODY)
    for grace in (A_WHILE, AT_ONCE):
        with pytest.raises(ErasingError):
            close(tenant, NOBODY, grace=grace)
    workflow_id = row_of(tenant).workflow_id
    with transaction(platform.engine) as session:
        workflow_records.ended(session, str(workflow_id), "the disk is full")
    with pytest.raises(ErasingError):
        close(tenant, NOBODY, grace=A_WHILE)
    close(tenant, platform.workflows, grace=AT_ONCE)
    platform.wait_for(tenant.id, Status.CLOSED)


def test_closing_anew_sets_the_grace_anew_and_keeps_what_it_was(platform: PlatformUnderTest) -> None:
    tenant = platform.tenant("pool")
    close(tenant, NOBODY)
    first = row_of(tenant)
    close(tenant, NOBODY, grace=2 * A_WHILE)
    second = row_of(tenant)
    assert (second.closing_at, second.closing_from) == (first.closing_at, Status.ACTIVE)
    assert first.closes_at is not None
    assert second.closes_at is not None
    assert second.closes_at > first.closes_at


@pytest.mark.parametrize(
    ("status", "why"),
    [(Status.PROVISIONING, "still being made"), (Status.MOVING, "being moved"), (Status.CLOSED, "closed already")],
)
def test_one_that_is_being_made_or_moved_or_gone_is_not_closed(
    platform: PlatformUnderTest, status: Status, why: str
) -> None:
    tenant = platform.tenant("pool")
    with_status(tenant, status)
    try:
        with pytest.raises(TransitionError, match=why):
            close(tenant, NOBODY)
        assert row_of(tenant).status == status
    finally:
        with_status(tenant, Status.ACTIVE)


@pytest.mark.parametrize("grace", [timedelta(seconds=-1), timedelta(days=3651)])
def test_a_grace_has_bounds(platform: PlatformUnderTest, pool_tenant: TenantUnderTest, grace: timedelta) -> None:
    with pytest.raises(GraceError):
        close(pool_tenant, NOBODY, grace=grace)
