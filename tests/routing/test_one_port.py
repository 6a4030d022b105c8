"""A platform whose API is two processes on one port."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from control_plane.registry import tenants
from control_plane.registry.engine import transaction
from control_plane.tenants import service
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest, running_platform
from tests.waiting import until

pytestmark = pytest.mark.slow
PROCESS = re.compile(r'copyhold_roll_version\{process="(\d+)"\}')
CONNECTIONS = 24
"""That all of them lead to the same of two processes happens once in eight million times."""


@pytest.fixture(scope="module")
def platform() -> Iterator[PlatformUnderTest]:
    with running_platform("--api-processes", "2") as made:
        yield made


def who_answer(platform: PlatformUnderTest) -> set[int]:
    """The processes that so many new connections lead to."""
    url = f"http://127.0.0.1:{platform.port}/metrics"
    said = [httpx.get(url, headers={"Host": "localhost"}).raise_for_status() for _ in range(CONNECTIONS)]
    return {int(number) for answer in said for number in PROCESS.findall(answer.text)}


def answers(tenant: TenantUnderTest) -> set[int]:
    """What so many new connections are answered."""
    headers = {"Host": tenant.host, "Authorization": f"Bearer {tenant.key}"}
    url = f"http://127.0.0.1:{tenant.platform.port}/api/me"
    return {httpx.get(url, headers=headers).status_code for _ in range(CONNECTIONS)}


def test_both_answer_and_a_suspension_is_heard_by_both(platform: PlatformUnderTest) -> None:
    assert len(who_answer(platform)) == 2
    tenant = platform.tenant("pool")
    until(lambda: answers(tenant) == {200}, what="both know it")
    with transaction(platform.engine) as session:
        service.suspend(session, platform.workflows, tenants.get(session, tenant.id, lock=True), "tests")
    until(lambda: answers(tenant) == {403}, what="both refuse it")
    files = sorted(file.name for file in platform.layout.snapshot.parent.iterdir())
    assert files == ["roll-2.json", "roll.json"], "none overwrites what the other knows"


def test_while_one_is_dead_the_other_answers_everybody(platform: PlatformUnderTest) -> None:
    tenant = platform.tenant("pool", "kept")
    until(lambda: answers(tenant) == {200}, what="both know it")
    one, other = sorted(who_answer(platform))
    os.kill(one, signal.SIGKILL)
    # Until the kernel has closed its door, whom it sends there is turned away.
    until(lambda: not Path(f"/proc/{one}").exists(), what="it is dead")
    assert answers(tenant) == {200}
    until(lambda: len(who_answer(platform)) == 2, what="there are two again")
    assert one not in who_answer(platform)
    assert other in who_answer(platform)
