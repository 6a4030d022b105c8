"""A server for a few seconds: prepared as the platform's are, and gone without a trace."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from control_plane.doors import SOCKETS
from provisioning.providers.base import ProviderError
from provisioning.providers.throwaway import throwaway_server
from provisioning.roles import MIGRATOR, OWNER, SUPERUSER, role_exists
from tests.folders import new_folder

pytestmark = pytest.mark.slow


@pytest.fixture
def parent() -> Iterator[Path]:
    """A folder that other users may pass, as /tmp is."""
    folder = new_folder("cht-")
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_it_has_the_platforms_roles_and_leaves_nothing_behind(parent: Path) -> None:
    with throwaway_server(parent) as server:
        (folder,) = parent.iterdir()
        assert folder.stat().st_mode & 0o077 == 0
        with psycopg.connect(SOCKETS.dsn(server, "postgres", SUPERUSER)) as connection:
            assert all(role_exists(connection, name) for name in (OWNER, MIGRATOR))
    assert list(parent.iterdir()) == []
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(SOCKETS.dsn(server, "postgres", SUPERUSER))


def test_it_goes_with_a_block_that_fails(parent: Path) -> None:
    with pytest.raises(ZeroDivisionError), throwaway_server(parent):
        _ = 1 / 0
    assert list(parent.iterdir()) == []


def test_a_folder_that_is_too_deep_for_a_socket_is_told_and_nothing_is_left(parent: Path) -> None:
    deep = parent / ("x" * 100)
    deep.mkdir(mode=0o755)
    with pytest.raises(ProviderError, match="PostgreSQL did not start"), throwaway_server(deep):
        raise AssertionError("it is not there")
    assert list(deep.iterdir()) == []
