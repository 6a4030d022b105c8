"""A platform on which tenants move."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.moves.whole.traffic import witnessed
from tests.platform_under_test import PlatformUnderTest, running_platform
from tests.provisioning.workers import control


@contextmanager
def new_town() -> Iterator[PlatformUnderTest]:
    """A running platform whose servers take tenants of every model, and whose answers say from which home they come."""
    with witnessed(), running_platform() as platform:
        with control(platform) as connection:
            connection.execute("UPDATE servers SET models = '{pool,bridge,silo}'")
        yield platform


@pytest.fixture(scope="package")
def town() -> Iterator[PlatformUnderTest]:
    """One of this folder's own. Every test leaves its tenants where they belong, and nothing else."""
    with new_town() as platform:
        yield platform
