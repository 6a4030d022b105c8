"""One control database for all tests of the registry, emptied before each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from dbos import DBOS
from psycopg import sql
from sqlalchemy import Engine, text

from control_plane.domain.names import SHARED_SCHEMA
from control_plane.doors import SOCKETS
from control_plane.registry.engine import control_engine, sqlalchemy_url, transaction
from control_plane.registry.workflows import DurableWorkflows
from migrations.fleet.chains import CONTROL
from migrations.fleet.replay import bring_to
from provisioning.roles import SUPERUSER, connect
from tests.registry.roll import Roll, settle
from tests.tenant_app.cluster import running_cluster

DATABASE = "roll"
# As a replica: neither references nor the audit log's trigger are in the way.
EMPTY = """
DO $$
DECLARE
    name text;
BEGIN
    SET LOCAL session_replication_role = replica;
    FOR name IN SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) FROM pg_tables
                 WHERE schemaname IN ('public', 'dbos') AND tablename NOT IN ('alembic_version', 'dbos_migrations')
    LOOP
        EXECUTE 'DELETE FROM ' || name;
    END LOOP;
    INSERT INTO feed VALUES (true, 0);
END
$$
"""


@pytest.fixture(scope="package")
def control_database() -> Iterator[Engine]:
    """A control database at the newest revision of its own chain and of the engine's."""
    with running_cluster() as cluster:
        with connect(SOCKETS.dsn(cluster, "postgres", SUPERUSER)) as admin:
            admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
        dsn = SOCKETS.dsn(cluster, DATABASE, SUPERUSER)
        bring_to(dsn, CONTROL, SHARED_SCHEMA, CONTROL.head, owner=SUPERUSER)
        DBOS.migrate(sqlalchemy_url(dsn).render_as_string(hide_password=False))
        made = control_engine(dsn, timeout_s=10, pool_size=10)
        yield made
        made.dispose()


@pytest.fixture
def engine(control_database: Engine) -> Engine:
    """The same without a row."""
    with transaction(control_database) as session:
        session.execute(text(EMPTY))
    return control_database


@pytest.fixture
def roll(engine: Engine) -> Iterator[Roll]:
    """The same with the servers alpha (pool, bridge) and beta (silo) and the door to the workflows."""
    workflows = DurableWorkflows(engine)
    with transaction(engine) as session:
        settle(session)
    yield Roll(engine=engine, workflows=workflows)
    workflows.close()
