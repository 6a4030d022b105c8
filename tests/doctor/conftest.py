"""The platform that these tests make ill, one defect at a time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.doctor.patient import Patient
from tests.platform_under_test import running_platform


@pytest.fixture(scope="package")
def patient() -> Iterator[Patient]:
    """A healthy platform of its own."""
    with running_platform() as platform:
        places = ("pool", "bridge", "other bridge", "silo", "other silo")
        yield Patient(platform=platform, tenants={place: platform.tenant(place.split()[-1]) for place in places})
