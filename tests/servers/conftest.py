"""One platform with a server elsewhere for all that is tried there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.far import Far, far_platform


@pytest.fixture(scope="package")
def far() -> Iterator[Far]:
    """Its catalogue is open, and accepted so, until `test_life_there` has its superuser close it."""
    with far_platform() as made:
        yield made
