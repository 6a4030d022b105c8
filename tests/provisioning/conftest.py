"""A platform whose workers may be killed and whose homes may be spoilt."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.platform_under_test import PlatformUnderTest, running_platform


@pytest.fixture(scope="package")
def shop() -> Iterator[PlatformUnderTest]:
    """A running platform of this folder's own. Each module leaves it whole."""
    with running_platform() as platform:
        yield platform
