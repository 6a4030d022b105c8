"""Data folders that the service user reaches, and platforms that are gone when a test ends."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.folders import new_folder
from tests.platform.machine import Platform


@pytest.fixture(scope="package")
def workshop() -> Iterator[Path]:
    """A folder for data folders."""
    folder = new_folder("ch-tests-")
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="package")
def made_once(workshop: Path) -> Path:
    """The data folder of a platform that ran once; tests copy it."""
    platform = Platform(workshop / "made-once")
    platform.up()
    assert platform.run("down").returncode == 0
    return platform.data


@pytest.fixture
def place(workshop: Path) -> Iterator[Path]:
    """An empty folder of a test's own."""
    folder = Path(tempfile.mkdtemp(dir=workshop))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


CopyTo = Callable[[Path], Path]


@pytest.fixture(scope="package")
def copy_to(made_once: Path) -> CopyTo:
    def copy(target: Path) -> Path:
        subprocess.run(["cp", "-a", made_once, target], check=True)
        return target

    return copy


@pytest.fixture
def platform(place: Path, copy_to: CopyTo) -> Iterator[Platform]:
    """A platform that ran before and does not run now."""
    platform = Platform(copy_to(place / "data"))
    yield platform
    gone(platform)


@pytest.fixture
def bare_platform(place: Path) -> Iterator[Platform]:
    """A platform that never ran."""
    platform = Platform(place / "data")
    yield platform
    gone(platform)


@pytest.fixture(scope="module")
def running(workshop: Path, copy_to: CopyTo) -> Iterator[Platform]:
    """A running platform that the tests of a module share."""
    folder = Path(tempfile.mkdtemp(dir=workshop))
    folder.chmod(0o755)
    platform = Platform(copy_to(folder / "data"))
    platform.up()
    yield platform
    gone(platform)
    shutil.rmtree(folder)


def gone(platform: Platform) -> None:
    """Stop what a test left running, and see that nothing is left of it."""
    if platform.supervisor is not None:
        platform.supervisor.terminate()
        platform.supervisor.communicate(timeout=60)
    if platform.processes():
        platform.run("down")
    assert platform.processes() == {}
    if platform.data.exists():
        shutil.rmtree(platform.layout.sockets, ignore_errors=True)


requires_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root changes users and mounts file systems")
