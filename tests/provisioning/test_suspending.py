"""Suspending and resuming in quick succession: their workflows may run in any order, the last wish counts."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import pytest
from sqlalchemy.orm import Session

from control_plane.domain.tenant import Status
from control_plane.registry import tenants
from control_plane.registry.engine import transaction
from control_plane.registry.tables import TenantRow
from control_plane.registry.workflows import Workflows
from control_plane.tenants import service
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest
from tests.provisioning import worker
from tests.service_user import as_service_user
from tests.waiting import until


class Unheard:
    """Takes wishes and starts nothing: the test runs the steps, in an order of its own."""

    def start(
        self, session: Session, name: str, workflow_id: str, subject: UUID, *, lane: str = "", after_s: float = 0
    ) -> None: ...

    def close(self) -> None: ...


Wish = Callable[[Session, Workflows, TenantRow, str], None]


def wish(tenant: TenantUnderTest, wanted: Wish, workflows: Workflows) -> None:
    with transaction(tenant.platform.engine) as session:
        wanted(session, workflows, tenants.get(session, tenant.id, lock=True), "tests")


def states(tenant: TenantUnderTest) -> tuple[str, str]:
    with transaction(tenant.platform.engine) as session:
        status = tenants.get(session, tenant.id).status
    with tenant.platform.home_of(tenant) as home:
        row = home.execute("SELECT state FROM tenancy.fences WHERE tenant_id = %s", [tenant.id]).fetchone()
    assert row is not None
    return status, str(row[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wishes", "steps", "ends"),
    [
        ((service.suspend,), ("suspend_fence",), ("suspended", "suspended")),
        ((service.suspend,), ("suspend_fence", "activate"), ("suspended", "suspended")),
        ((service.suspend, service.resume), ("suspend_fence", "let_in"), ("active", "open")),
        ((service.suspend, service.resume), ("let_in", "suspend_fence"), ("active", "open")),
        ((service.suspend, service.resume, service.suspend), ("let_in", "suspend_fence"), ("suspended", "suspended")),
        ((service.suspend, service.resume, service.suspend), ("suspend_fence", "let_in"), ("suspended", "suspended")),
    ],
)
@pytest.mark.parametrize("times", [1, 2])
def test_the_last_wish_counts_in_whatever_order_the_steps_run(
    platform: PlatformUnderTest, wishes: tuple[Wish, ...], steps: tuple[str, ...], ends: tuple[str, str], times: int
) -> None:
    tenant = platform.tenant("pool")
    for wanted in wishes:
        wish(tenant, wanted, Unheard())
    for name in steps:
        for _ in range(times):
            as_service_user(platform.data, worker.step, platform.settings, tenant.id, name)
    assert states(tenant) == ends


def test_a_tenant_resumed_at_once_is_served(platform: PlatformUnderTest) -> None:
    tenant = platform.tenant("pool")
    for _ in range(5):
        wish(tenant, service.suspend, platform.workflows)
        wish(tenant, service.resume, platform.workflows)
    platform.wait_for(tenant.id, Status.ACTIVE)
    until(lambda: tenant.http.get("/api/me").status_code == 200, what="the tenant is served")
