"""The tenant chain builds the tables that the app maps, and nothing is left unprotected."""

from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine

from control_plane.doors import SOCKETS
from control_plane.registry.engine import sqlalchemy_url
from control_plane.routing.scope import TenantScoped
from control_plane.routing.seam import TenantApp, load_tenant_app
from migrations.fleet.chains import tenant_chain
from tenant_app import inbox
from tenant_app.tables import Base
from tests.tenant_app.house import House

UNPROTECTED = """
SELECT relname FROM pg_class
 WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> 'alembic_version'
   AND NOT (relrowsecurity AND relforcerowsecurity AND EXISTS (SELECT FROM pg_policy WHERE polrelid = pg_class.oid))
"""
# An index serves a reference when it begins with the same columns.
UNINDEXED = """
SELECT conname FROM pg_constraint c
 WHERE contype = 'f' AND connamespace = 'public'::regnamespace
   AND NOT EXISTS (SELECT FROM pg_index i
                    WHERE i.indrelid = c.conrelid AND (i.indkey::int2[])[0:cardinality(c.conkey) - 1] = c.conkey)
"""
NOT_BY_TENANT = """
SELECT i.indexrelid::regclass::text FROM pg_index i
  JOIN pg_class t ON t.oid = i.indrelid AND t.relnamespace = 'public'::regnamespace AND t.relname <> 'alembic_version'
  JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = i.indkey[0]
 WHERE a.attname <> 'tenant_id'
"""


def test_the_inbox_is_what_the_seam_asks_for() -> None:
    assert load_tenant_app("tenant_app:inbox") is inbox
    assert isinstance(inbox, TenantApp)


def test_the_app_works_with_every_revision_of_its_chain() -> None:
    assert set(tenant_chain(inbox.migrations).revisions) == inbox.revisions


def test_the_chain_builds_what_the_app_maps(house: House) -> None:
    engine = create_engine(sqlalchemy_url(SOCKETS.dsn(house.builder.server, house.database, "postgres")))
    with engine.connect() as connection:
        options = {"compare_type": True, "include_schemas": False}
        context = MigrationContext.configure(connection, opts=options)
        found = compare_metadata(context, inbox.metadata)
    engine.dispose()
    assert [item for item in found if item[0] != "remove_table" or item[1].name != "alembic_version"] == []


def test_the_checks_that_the_app_maps_are_those_of_the_database(house: House) -> None:
    mapped = {
        constraint.name
        for table in Base.metadata.tables.values()
        for constraint in table.constraints
        if constraint.name is not None
    }
    with house.builder.admin(house.database) as admin:
        names = admin.execute(
            "SELECT conname FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text"
            " <> 'alembic_version'"
        )
        assert {name for (name,) in names} == {str(name) for name in mapped}


@pytest.mark.parametrize("query", [UNPROTECTED, UNINDEXED, NOT_BY_TENANT], ids=["policy", "references", "indexes"])
def test_every_table_is_protected_and_told_apart_by_tenant_first(house: House, query: str) -> None:
    with house.builder.admin(house.database) as admin:
        assert admin.execute(query.encode()).fetchall() == []


def test_every_mapped_table_is_scoped() -> None:
    assert all(issubclass(mapper.class_, TenantScoped) for mapper in Base.registry.mappers)
