"""An API process whose control database is away: it serves from memory or from disk, and revives nobody."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from control_plane.domain.tenant import Status
from control_plane.registry import tenants
from control_plane.registry.engine import transaction
from control_plane.routing.snapshot import load
from control_plane.tenants import service
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest, free_port
from tests.routing.apis import REPOSITORY, Api
from tests.routing.hands import set_fence, set_status
from tests.routing.wire import wire_to
from tests.waiting import until


@pytest.fixture
def api(platform: PlatformUnderTest, tmp_path: Path) -> Iterator[Api]:
    with wire_to(platform.settings.control_dsn) as wire:
        yield Api(platform=platform, wire=wire, snapshot=tmp_path / "roll.json", port=free_port())


def suspend(tenant: TenantUnderTest) -> None:
    """As staff do, until the fence has it too."""
    platform = tenant.platform
    with transaction(platform.engine) as session:
        service.suspend(session, platform.workflows, tenants.get(session, tenant.id, lock=True), "tests")
    with platform.home_of(tenant) as home:
        state = "SELECT state FROM tenancy.fences WHERE tenant_id = %s"
        until(lambda: home.execute(state, [tenant.id]).fetchone() == ("suspended",), what="the fence is suspended")


def close(tenant: TenantUnderTest) -> None:
    """What a closing ends in."""
    set_fence(tenant, state="closed")
    set_status(tenant, Status.CLOSED)


@pytest.fixture
def refused(platform: PlatformUnderTest) -> Iterator[tuple[TenantUnderTest, TenantUnderTest]]:
    """Two that will be suspended and closed; open and active again at the end."""
    tenants_refused = platform.tenant("pool"), platform.tenant("pool")
    yield tenants_refused
    for tenant in tenants_refused:
        set_fence(tenant, state="open")
        set_status(tenant, Status.ACTIVE)


@pytest.mark.slow
def test_known_tenants_are_served_without_a_control_database_and_nobody_is_revived(
    api: Api,
    platform: PlatformUnderTest,
    silo_tenant: TenantUnderTest,
    pool_tenant: TenantUnderTest,
    refused: tuple[TenantUnderTest, TenantUnderTest],
) -> None:
    (suspended, closed), served = refused, (silo_tenant, pool_tenant)
    old = api.snapshot.with_name("old.json")
    with api.running():
        for tenant in (suspended, closed, *served):
            until(lambda tenant=tenant: api.answer(tenant)[0] == 200, what="it is served")  # type: ignore[misc]
        until(lambda: closed.id in load(api.snapshot, platform.keyring).by_id, what="all are on disk")
        shutil.copy(api.snapshot, old)
        suspend(suspended)
        close(closed)
        until(lambda: api.answer(suspended) == (403, "tenant_suspended"), what="the suspension is heard")
        until(lambda: api.answer(closed) == (403, "tenant_closed"), what="the closing is heard")
        api.wire.pull()
        for _ in range(2):
            assert [api.answer(tenant) for tenant in served] == [(200, ""), (200, "")]
            assert api.answer(pool_tenant, "POST", "/api/conversations", subject="from memory") == (201, "")
            assert api.answer(suspended) == (403, "tenant_suspended")
            assert api.answer(closed) == (403, "tenant_closed")
    with api.running():  # again, and nothing but the disk to start from
        assert [api.answer(tenant) for tenant in served] == [(200, ""), (200, "")]
        assert api.answer(pool_tenant, "POST", "/api/conversations", subject="from disk") == (201, "")
        assert api.answer(suspended) == (403, "tenant_suspended")
        assert api.answer(closed) == (403, "tenant_closed")
    # A snapshot from before the suspension, put back: its signature holds, and the fence does as well.
    shutil.copy(old, api.snapshot)
    assert load(old, platform.keyring).by_id[suspended.id].status is Status.ACTIVE
    with api.running():
        assert api.answer(pool_tenant)[0] == 200
        assert api.answer(suspended) == (403, "tenant_suspended")
        assert api.answer(closed) == (403, "tenant_closed")
        api.wire.plug()
        until(lambda: load(api.snapshot, platform.keyring).by_id[suspended.id].status is Status.SUSPENDED, what="news")
        assert api.answer(suspended) == (403, "tenant_suspended")


@pytest.mark.slow
def test_an_api_without_control_database_and_snapshot_says_why_it_does_not_start(api: Api) -> None:
    api.wire.pull()
    command = [sys.executable, "-m", "cli.main", "api"]
    ended = subprocess.run(
        command, cwd=REPOSITORY, env=api.environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode != 0
    assert "control database" in ended.stderr + ended.stdout
