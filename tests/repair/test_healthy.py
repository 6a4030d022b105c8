"""A platform on which all is well."""

from __future__ import annotations

from tests.doctor.patient import Patient
from tests.repair.mending import assert_well


def test_a_healthy_platform_needs_no_repair(patient: Patient) -> None:
    assert_well(patient)
