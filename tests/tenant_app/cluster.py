"""A PostgreSQL cluster of the tests' own, prepared as the platform prepares its servers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from control_plane.domain.server import Server
from provisioning.providers.throwaway import throwaway_server
from tests.folders import roomiest


@contextmanager
def running_cluster(**settings: str) -> Iterator[Server]:
    """A new cluster with these settings, which is ended and deleted at the end of the block."""
    with throwaway_server(roomiest(), **settings) as server:
        yield replace(server, name="tests")
