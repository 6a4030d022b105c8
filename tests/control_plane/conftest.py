"""A PostgreSQL for all tests of the control plane, and a control database of its own for each that wants one."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from dbos import DBOS
from psycopg import sql

from control_plane.domain.names import SHARED_SCHEMA
from control_plane.registry.engine import sqlalchemy_url
from migrations.fleet.chains import CONTROL
from migrations.fleet.replay import bring_to
from provisioning.providers.base import ServerAddress
from provisioning.roles import SUPERUSER, connect
from tests.control_plane.house import ControlPlane, control_plane_on
from tests.tenant_app.cluster import running_cluster

TEMPLATE = "control_template"
MakeDatabase = Callable[[], str]


@pytest.fixture(scope="package")
def control_server() -> Iterator[ServerAddress]:
    """A PostgreSQL with one control database, at the newest revision, to be copied."""
    with running_cluster() as cluster:
        address = ServerAddress(host=cluster.host, port=cluster.port)
        with connect(address.dsn(database="postgres", user=SUPERUSER)) as admin:
            admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(TEMPLATE)))
        dsn = address.dsn(database=TEMPLATE, user=SUPERUSER)
        bring_to(dsn, CONTROL, SHARED_SCHEMA, CONTROL.head, owner=SUPERUSER)
        DBOS.migrate(sqlalchemy_url(dsn).render_as_string(hide_password=False))
        yield address


@pytest.fixture(scope="package")
def make_database(control_server: ServerAddress) -> MakeDatabase:
    """Makes empty control databases; the cluster goes with them at the end."""
    numbers = itertools.count(1)

    def make() -> str:
        name = f"control_{next(numbers)}"
        with connect(control_server.dsn(database="postgres", user=SUPERUSER)) as admin:
            copy = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
            admin.execute(copy.format(sql.Identifier(name), sql.Identifier(TEMPLATE)))
        return control_server.dsn(database=name, user=SUPERUSER)

    return make


@pytest.fixture(scope="package")
async def shared(make_database: MakeDatabase) -> AsyncIterator[ControlPlane]:
    """A control plane for tests that do not mind other tests' tenants."""
    async with control_plane_on(make_database()) as control_plane:
        yield control_plane


@pytest.fixture
async def fresh(make_database: MakeDatabase) -> AsyncIterator[ControlPlane]:
    """A control plane of a test's own."""
    async with control_plane_on(make_database()) as control_plane:
        yield control_plane
