"""A pooler of the tests' own, and tenants on the road."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.platform_under_test import PlatformUnderTest, TenantUnderTest
from tests.routing.scratch import ScratchPooler, scratch_pooler


@pytest.fixture(scope="module")
def pooler(
    platform: PlatformUnderTest,
    pool_tenant: TenantUnderTest,
    bridge_tenant: TenantUnderTest,
    silo_tenant: TenantUnderTest,
) -> Iterator[ScratchPooler]:
    """A PgBouncer that is not the platform's: it may be killed, and only the test's own clients are on it."""
    with scratch_pooler(platform, pool_size=10) as pooler:
        yield pooler
