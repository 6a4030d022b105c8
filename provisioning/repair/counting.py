"""Counting what tenants have in a database, before anybody drops it."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import psycopg
from psycopg import sql

from control_plane.domain.server import Server
from control_plane.doors import Doors, NoDoorError
from provisioning.doctor.catalogue import look_into
from provisioning.repair.facts import Contents
from provisioning.roles import Connection

COUNTED = 100_000
"""Rows a table at most: whether there are more changes nothing."""

_TABLES = """
SELECT n.nspname, c.relname,
       EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relname <> 'alembic_version'
   AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'tenancy') AND n.nspname !~ '^pg_(toast|temp)'
   AND (%(schemas)s::text[] IS NULL OR n.nspname = ANY (%(schemas)s))
"""
_COUNT = sql.SQL("SELECT count(*) AS n FROM (SELECT FROM {table} {condition} LIMIT {most}) AS counted")
_FENCES = "SELECT to_regclass('tenancy.fences') IS NOT NULL"


def contents(doors: Doors, server: Server, database: str) -> Contents | None:
    """Of a whole database; None when it cannot be looked into."""
    try:
        with look_into(doors, server, database) as connection:
            return contents_over(connection)
    except (psycopg.Error, NoDoorError):
        return None


def contents_over(connection: Connection) -> Contents:
    """Of the database that the connection is to."""
    tenants = 0
    if connection.execute(_FENCES).fetchone() == (True,):
        ((tenants,),) = connection.execute("SELECT count(*) FROM tenancy.fences").fetchall()
    return Contents(tenants=tenants, rows=rows(connection))


def rows(connection: Connection, *, schemas: Sequence[str] | None = None, tenant_id: UUID | None = None) -> int:
    """Of tables in those schemas, or in all; with a tenant, those that are his."""
    tables = connection.execute(_TABLES, {"schemas": list(schemas) if schemas is not None else None}).fetchall()
    condition: sql.Composable = sql.SQL("")
    if tenant_id is not None:
        tables = [each for each in tables if each[2]]
        condition = sql.SQL("WHERE tenant_id = {}").format(sql.Literal(tenant_id))
    counts = [
        _COUNT.format(table=sql.Identifier(schema, name), condition=condition, most=sql.Literal(COUNTED))
        for schema, name, _ in tables
    ]
    if not counts:
        return 0
    query = sql.SQL("SELECT sum(n)::bigint FROM ({}) AS each_table").format(sql.SQL(" UNION ALL ").join(counts))
    ((number,),) = connection.execute(query).fetchall()
    return int(number)
