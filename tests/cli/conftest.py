"""A shell on the shared platform, and a platform of our own to hurt."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.wiring import Platform
from provisioning.layout import Layout
from tests.cli.shell import Shell
from tests.platform_under_test import PlatformUnderTest, running_platform


@pytest.fixture(scope="package")
def shell(platform: PlatformUnderTest) -> Shell:
    """Commands on the shared platform."""
    return Shell(platform.data)


@pytest.fixture(scope="package")
def own_platform() -> Iterator[PlatformUnderTest]:
    """A platform built one revision behind, whose servers, files and homes these tests may hurt and mend."""
    with running_platform("--at", "0001") as started:
        yield started


@pytest.fixture(scope="package")
def own_shell(own_platform: PlatformUnderTest) -> Shell:
    """Commands on the platform of our own."""
    return Shell(own_platform.data)


@pytest.fixture(scope="package")
def opened(platform: PlatformUnderTest) -> Platform:
    """The shared platform as the work behind a command sees it."""
    return Platform(
        settings=platform.settings,
        engine=platform.engine,
        keyring=platform.keyring,
        actor="cli:tests",
    )


@pytest.fixture
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """Commands on a platform that does not run."""
    data = Path(tmp_path_factory.mktemp("stopped", numbered=True))
    folder = Path("/tmp") / f"ch-stopped-{os.getpid()}-{data.name}"
    folder.mkdir()
    try:
        layout = Layout.create(folder)
        _give_to_the_service_user(layout)
        yield Shell(folder)
    finally:
        shutil.rmtree(folder)


def _give_to_the_service_user(layout: Layout) -> None:
    if os.geteuid() != 0:
        return
    for path in (layout.data, *layout.data.rglob("*")):
        shutil.chown(path, "postgres", "postgres")
