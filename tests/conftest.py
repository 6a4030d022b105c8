"""What all tests share: one platform on real parts for the whole session."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.platform_under_test import PlatformUnderTest, TenantUnderTest, running_platform

# Tests send it to what they start. Whoever runs them in a shell's background has it ignored, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


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
