"""A whole platform without its control server: known tenants are served for as long as wanted, then all catches up."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from cli.supervisor.keeper import QUICK_DEATHS
from control_plane.domain.tenant import Status
from control_plane.registry import tenants
from control_plane.registry.engine import transaction
from control_plane.routing.snapshot import load
from control_plane.tenants import service
from tests.parts import IMMEDIATE, postmaster
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest, running_platform
from tests.waiting import until

pytestmark = pytest.mark.slow

MODELS = ("pool", "bridge", "silo")
LONG_S = 90
OUR_PROCESSES = ("api", "worker")


@pytest.fixture
def platform() -> Iterator[PlatformUnderTest]:
    """One of the test's own: everybody else needs the control server."""
    with running_platform() as platform:
        yield platform


def process(platform: PlatformUnderTest, part: str) -> int:
    """The API or the worker; 0 when there is none."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if words[-4:-1] == [part, "--data", str(platform.data)] and "cli.main" in words:
            return int(entry.name)
    return 0


def kill(platform: PlatformUnderTest, part: str) -> None:
    """End it without a word, and wait until the supervisor has started another."""
    before = process(platform, part)
    os.kill(before, signal.SIGKILL)
    until(lambda: process(platform, part) not in (0, before), what=f"there is another {part}", deadline_s=LONG_S)


@contextmanager
def without_control(platform: PlatformUnderTest) -> Iterator[None]:
    """The control server is stopped, and cannot be started before the block has ended."""
    settings = platform.layout.servers / "control" / "postgresql.auto.conf"
    before = settings.read_text()
    settings.write_text(before + "no_such_setting = 1\n")
    try:
        os.kill(postmaster(platform, "control"), IMMEDIATE)
        yield
    finally:
        settings.write_text(before)


def deaths(platform: PlatformUnderTest, part: str) -> int:
    """How often the supervisor has said that it starts the part again."""
    log = (platform.layout.logs / "supervisor.log").read_text()
    return sum(f" {part} " in line and "starting it again" in line for line in log.splitlines())


def answer(tenant: TenantUnderTest) -> tuple[int, str]:
    """Status of one request, and the problem's code; (0, "") while nobody listens."""
    try:
        answer = tenant.http.get("/api/me")
    except httpx.TransportError:
        return 0, ""
    return answer.status_code, "" if answer.status_code < 400 else answer.json()["code"]


def suspend(tenant: TenantUnderTest) -> None:
    with transaction(tenant.platform.engine) as session:
        row = tenants.get(session, tenant.id, lock=True)
        service.suspend(session, tenant.platform.workflows, row, "tests")


def test_a_platform_serves_without_its_control_server_and_catches_up(platform: PlatformUnderTest) -> None:
    served = [platform.tenant(model) for model in MODELS]
    suspended, at_the_last_moment = platform.tenant("pool"), platform.tenant("pool")
    suspend(suspended)
    until(lambda: answer(suspended) == (403, "tenant_suspended"), what="the suspension is heard")
    snapshot = platform.settings.snapshot_file
    until(lambda: load(snapshot, platform.keyring).by_id[suspended.id].status is Status.SUSPENDED, what="it is on disk")
    # Nobody hears of the second one: neither the API, which is gone by then, nor the worker.
    for part in OUR_PROCESSES:
        os.kill(process(platform, part), signal.SIGSTOP)
    suspend(at_the_last_moment)
    with without_control(platform):
        for part in OUR_PROCESSES:
            kill(platform, part)
        until(lambda: answer(served[0])[0] == 200, what="the new API serves from disk", deadline_s=LONG_S)
        until(lambda: deaths(platform, "control") > QUICK_DEATHS, what="control is given up on", deadline_s=LONG_S)
        until(lambda: deaths(platform, "worker") > QUICK_DEATHS, what="the worker is given up on", deadline_s=LONG_S)
        kill(platform, "api")
        until(lambda: answer(served[0])[0] == 200, what="yet another API serves from disk", deadline_s=LONG_S)
        for tenant in served:
            assert answer(tenant) == (200, "")
            assert tenant.http.post("/api/conversations", json={"subject": "without control"}).status_code == 201
        assert answer(suspended) == (403, "tenant_suspended")
        assert platform.control.get("/readyz").status_code == 200
    until(lambda: answer(at_the_last_moment) == (403, "tenant_suspended"), what="all is heard", deadline_s=LONG_S)
    with platform.home_of(at_the_last_moment) as home:
        state = "SELECT state FROM tenancy.fences WHERE tenant_id = %s"
        until(
            lambda: home.execute(state, [at_the_last_moment.id]).fetchone() == ("suspended",),
            what="the home refuses as well",
            deadline_s=LONG_S,
        )
    assert platform.status(suspended.id) == (Status.SUSPENDED, None)
    until(lambda: process(platform, "worker") != 0, what="there is a worker")
    assert answer(platform.tenant("silo")) == (200, "")
    assert [answer(tenant) for tenant in served] == [(200, "")] * len(served)
