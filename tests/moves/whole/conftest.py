"""A platform on which tenants move."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.moves.whole.traffic import witnessed
from tests.platform_under_test import PlatformUnderTest, running_platform
from tests.provisioning.workers import control


@pytest.fixture(scope="package")
def town() -> Iterator[PlatformUnderTest]:
    """A running platform of this folder's own. Every test leaves its tenants where they belong, and nothing else."""
    with witnessed(), running_platform() as platform:
        with control(platform) as connection:
            connection.execute("UPDATE servers SET models = '{pool,bridge,silo}'")
        yield platform
