"""The platform that these tests damage and mend."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.doctor.patient import Patient
from tests.platform_under_test import running_platform
from tests.repair.mending import assert_well


@pytest.fixture(scope="package")
def patient() -> Iterator[Patient]:
    """A platform of its own with tenants in all three models."""
    with running_platform() as platform:
        places = ("pool", "other pool", "bridge", "other bridge", "silo", "other silo")
        yield Patient(platform=platform, tenants={place: platform.tenant(place.split()[-1]) for place in places})


@pytest.fixture
def well_afterwards(patient: Patient) -> Iterator[None]:
    """After the test, nothing is wrong any more, and everybody is served."""
    yield
    assert_well(patient)
