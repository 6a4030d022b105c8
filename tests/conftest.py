"""What all tests share: one platform on real parts for the whole session."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.platform_under_test import PlatformUnderTest, TenantUnderTest, running_platform

# Tests send it to what they start. Whoever runs them in a shell's background has it ignored, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says how busy the machine is, and nothing of what is tried.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

LONG = (
    "moves/whole/test_parts.py",
    "provisioning/test_killed_between_steps.py",
    "provisioning/test_rds_onboarding.py",
    "moves/whole/test_under_freeze.py",
    "moves/whole/test_waiting.py",
    "moves/whole/test_killed.py",
    "servers/test_life_there.py",
    "provisioning/test_growing.py",
    "isolation/test_mutants.py",
    "moves/whole/test_cut.py",
    "repair/test_killed.py",
    "moves/whole/test_drained.py",
)
"""The files that take minutes. They go first: begun last, one of them would be waited for alone."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have the long files begin first, the others in the order of their folders, which share what they start."""
    places = {Path(__file__).parent / name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path, len(LONG)))


@pytest.fixture(scope="session")
def platform() -> Iterator[PlatformUnderTest]:
    """A running platform. Tests share it: they make tenants of their own and break nothing that others use."""
    with running_platform() as started:
        yield started


@pytest.fixture(scope="session")
def pool_tenant(platform: PlatformUnderTest) -> TenantUnderTest:
    """A tenant in the pool; tests only add to it."""
    return platform.tenant("pool")


@pytest.fixture(scope="session")
def bridge_tenant(platform: PlatformUnderTest) -> TenantUnderTest:
    """A tenant in a schema of its own; tests only add to it."""
    return platform.tenant("bridge")


@pytest.fixture(scope="session")
def silo_tenant(platform: PlatformUnderTest) -> TenantUnderTest:
    """A tenant in a database of its own; tests only add to it."""
    return platform.tenant("silo")
