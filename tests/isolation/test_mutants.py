"""Every defect is noticed, by the checks of its layer and by no other: so each check can fail, and each layer holds."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.isolation import layers, probes
from tests.isolation.cases import every_case
from tests.isolation.checks import Examination, enough
from tests.isolation.conftest import Proof
from tests.isolation.doors import Inside
from tests.isolation.mutants import MUTANTS, Check, Ground, Layer
from tests.isolation.operations import OPERATIONS
from tests.platform_under_test import COPYHOLD, free_port

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Column .* is marked as a member of the primary key"),
]


@pytest.fixture(scope="module")
def ground(breakable: Proof) -> Ground:
    """Two tenants of one pool."""
    me, them = breakable.pair("pool", "pool")
    return Ground(me=me, them=them)


@pytest.fixture(scope="module")
def door(breakable: Proof, ground: Ground) -> Iterator[Inside]:
    """The app in this process, started while everything was whole."""
    with Inside(breakable.platform) as door:
        yield door


@pytest.mark.parametrize("name", MUTANTS)
def test_a_defect_is_noticed_by_the_checks_of_its_layer_and_by_no_other(
    breakable: Proof, ground: Ground, door: Inside, name: str
) -> None:
    mutant = MUTANTS[name]
    examination = Examination.of(ground, door, breakable.served)
    with mutant.make(ground):
        red = examination.red()
    assert red == mutant.red, f"{name} ({mutant.layer})"


def test_without_a_defect_every_check_is_green(breakable: Proof, ground: Ground, door: Inside) -> None:
    assert Examination.of(ground, door, breakable.served).red() == {}


def test_an_api_does_not_start_when_a_shared_home_has_a_defect(
    breakable: Proof, ground: Ground, tmp_path: Path
) -> None:
    told = {
        "CONTROL_DSN": breakable.platform.settings.control_dsn,
        "POOLER_HOST": breakable.platform.settings.pooler_host,
        "POOLER_DIR": tmp_path,
        "MASTER_KEY_FILE": breakable.platform.settings.master_key_file,
        "SNAPSHOT_FILE": tmp_path / "roll.json",
        "HTTP_PORT": free_port(),
    }
    environment = {**os.environ, **{f"COPYHOLD_{name}": str(value) for name, value in told.items()}}
    with MUTANTS["it is not forced upon the owner"].make(ground):
        done = subprocess.run([*COPYHOLD, "api"], env=environment, timeout=60, capture_output=True, text=True)
    assert done.returncode not in (0, None)
    assert "messages does not force row-level security" in done.stderr


@pytest.mark.parametrize("model", ["bridge", "silo"])
def test_a_defect_in_one_home_keeps_its_tenant_alone_from_being_served(breakable: Proof, model: str) -> None:
    sick, well = breakable.world(model), breakable.world(model, 2)
    off, on = (f"ALTER TABLE messages {word} ROW LEVEL SECURITY" for word in ("NO FORCE", "FORCE"))
    with layers.changed(sick.home, off, on), Inside(breakable.platform) as door:
        assert probes.first_visit(door, sick) == 503
        assert probes.first_visit(door, well) == 200
    with Inside(breakable.platform) as door:
        assert probes.first_visit(door, sick) == 200


def test_every_check_and_every_layer_has_a_defect_that_turns_it_red() -> None:
    assert {check for mutant in MUTANTS.values() for check in mutant.red} == set(Check)
    assert {mutant.layer for mutant in MUTANTS.values()} == set(Layer)
    assert [name for name, mutant in MUTANTS.items() if not mutant.red] == []


def test_defects_are_looked_for_with_every_operation() -> None:
    for name, operation in OPERATIONS.items():
        assert [case for case in every_case({name: operation}) if enough(case)], name
