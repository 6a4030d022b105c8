"""A control database of its own for every test, copied from one that the control chain and the engine's have built."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from dbos import DBOS
from psycopg import sql
from sqlalchemy import Engine

from control_plane.domain.names import SHARED_SCHEMA
from control_plane.domain.server import Server
from control_plane.registry.engine import control_engine, sqlalchemy_url, transaction
from control_plane.registry.servers import direct_dsn
from control_plane.registry.workflows import DurableWorkflows
from migrations.fleet.chains import CONTROL
from migrations.fleet.replay import bring_to
from provisioning.roles import SUPERUSER, connect
from tests.registry.roll import Roll, settle
from tests.tenant_app.cluster import running_cluster

TEMPLATE = "roll_template"
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def roll_server() -> Iterator[Server]:
    """A PostgreSQL with one control database, at the newest revision, to be copied."""
    with running_cluster() as cluster:
        with connect(direct_dsn(cluster, "postgres", SUPERUSER)) as admin:
            admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(TEMPLATE)))
        dsn = direct_dsn(cluster, TEMPLATE, SUPERUSER)
        bring_to(dsn, CONTROL, SHARED_SCHEMA, CONTROL.head, owner=SUPERUSER)
        DBOS.migrate(sqlalchemy_url(dsn).render_as_string(hide_password=False))
        yield cluster


@pytest.fixture
def engine(roll_server: Server) -> Iterator[Engine]:
    """An empty control database."""
    name = f"roll_{next(_numbers)}"
    with connect(direct_dsn(roll_server, "postgres", SUPERUSER)) as admin:
        copy = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        admin.execute(copy.format(sql.Identifier(name), sql.Identifier(TEMPLATE)))
    made = control_engine(direct_dsn(roll_server, name, SUPERUSER), timeout_s=10, pool_size=10)
    yield made
    made.dispose()


@pytest.fixture
def roll(engine: Engine) -> Iterator[Roll]:
    """The same with the servers alpha (pool, bridge) and beta (silo) and the door to the workflows."""
    workflows = DurableWorkflows(engine)
    with transaction(engine) as session:
        settle(session)
    yield Roll(engine=engine, workflows=workflows)
    workflows.close()
