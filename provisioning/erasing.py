"""Erasing what a tenant has in a home: its rows, its schema, its fence. Every function may be repeated."""

from __future__ import annotations

from uuid import UUID

from psycopg import sql

from control_plane.domain.server import Server
from control_plane.registry.servers import direct_dsn
from provisioning.exports.content import TENANT_ID, tables_in
from provisioning.roles import MIGRATOR, MOVER, OWNER, connect

BATCH_ROWS = 5000
LOCK_TIMEOUT_S = 10
_SOME = sql.SQL(
    "DELETE FROM {table} WHERE ctid = ANY (ARRAY(SELECT ctid FROM {table} WHERE {tenant} = %s LIMIT {most}))"
)
_PATIENTLY = sql.SQL("SET lock_timeout = {}").format(sql.Literal(f"{LOCK_TIMEOUT_S}s"))


def erase_rows(server: Server, database: str, schema: str, tenant_id: UUID) -> None:
    """Delete the tenant's rows from every table of a schema that tenants share, some at a time, each time committed.

    In whatever order: nobody enters any more, and references are not checked, so that none has to be searched for.
    """
    with connect(direct_dsn(server, database, MOVER)) as mover:
        mover.execute(_PATIENTLY)
        mover.execute("SET session_replication_role = replica")
        for table in tables_in(mover, schema):
            some = _SOME.format(
                table=sql.Identifier(schema, table), tenant=sql.Identifier(TENANT_ID), most=sql.Literal(BATCH_ROWS)
            )
            while mover.execute(some, [tenant_id]).rowcount:
                pass


def drop_schema(server: Server, database: str, schema: str) -> None:
    """Drop a tenant's schema with all that is in it. Whoever holds a lock there is waited for, for LOCK_TIMEOUT_S."""
    with connect(direct_dsn(server, database, MIGRATOR)) as migrator:
        migrator.execute(_PATIENTLY)
        migrator.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(OWNER)))
        migrator.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema)))


def drop_fence(server: Server, database: str, tenant_id: UUID) -> None:
    """Take the tenant's fence away: without one nobody enters. The last thing to go."""
    with connect(direct_dsn(server, database, MIGRATOR)) as migrator:
        migrator.execute("DELETE FROM tenancy.fences WHERE tenant_id = %s", [tenant_id])
