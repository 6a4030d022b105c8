"""Databases to migrate: empty ones on a server of the tests' own, and a whole fleet one revision behind."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from psycopg import sql

from control_plane.domain.server import Server
from control_plane.doors import SOCKETS
from provisioning.roles import MIGRATOR, OWNER, SUPERUSER, connect
from tests.fleet.fleet import FleetUnderTest
from tests.fleet.scratch import Scratch
from tests.platform_under_test import running_platform
from tests.tenant_app.cluster import running_cluster

_numbers = itertools.count(1)


@pytest.fixture(scope="package")
def cluster() -> Iterator[Server]:
    """A PostgreSQL with the platform's roles."""
    with running_cluster() as running:
        yield running


@pytest.fixture
def scratch(cluster: Server) -> Scratch:
    """An empty database; it goes with its cluster."""
    name = f"scratch_{next(_numbers)}"
    with connect(SOCKETS.dsn(cluster, "postgres", SUPERUSER)) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    with connect(SOCKETS.dsn(cluster, name, SUPERUSER)) as admin:
        admin.execute(sql.SQL("GRANT ALL ON SCHEMA public TO {}").format(sql.Identifier(OWNER)))
    return Scratch(dsn=SOCKETS.dsn(cluster, name, MIGRATOR), superuser_dsn=SOCKETS.dsn(cluster, name, SUPERUSER))


@pytest.fixture
def elsewhere() -> Iterator[ThreadPoolExecutor]:
    """Threads that migrate while the test looks on."""
    with ThreadPoolExecutor(4) as pool:
        yield pool


@pytest.fixture(scope="package")
def whole_fleet() -> Iterator[FleetUnderTest]:
    """A platform whose tenants, in all three models, are one revision behind."""
    with running_platform("--at", "0001") as platform:
        yield FleetUnderTest.settle(platform, pool=2, bridge=5, silo=3)


@pytest.fixture
def fleet(whole_fleet: FleetUnderTest) -> FleetUnderTest:
    """The same, with whatever an earlier test did to its revisions undone."""
    whole_fleet.rewind()
    return whole_fleet
