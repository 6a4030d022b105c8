"""Erasing what a tenant has in a home: its rows, its schema, its fence. Every function may be repeated."""

from __future__ import annotations

from uuid import UUID

from psycopg import sql

from control_plane.domain.server import Server
from control_plane.doors import Doors
from provisioning.duty import Duty, at_once
from provisioning.exports.content import TENANT_ID, tables_in
from provisioning.roles import MIGRATOR, MOVER, OWNER, Connection, connect
from provisioning.sessions import end_others, of_schema

BATCH_ROWS = 1000
LOCK_TIMEOUT_S = 10
# The tenant is asked for twice: of a partitioned table rows of others lie at the same places of other partitions.
_SOME = sql.SQL(
    "DELETE FROM {table} WHERE {tenant} = %(tenant)s"
    " AND ctid = ANY (ARRAY(SELECT ctid FROM {table} WHERE {tenant} = %(tenant)s LIMIT {most}))"
)
_MAY_LEAVE_OUT_CHECKS = "SELECT has_parameter_privilege('session_replication_role', 'SET')"
_PATIENTLY = sql.SQL("SET lock_timeout = {}").format(sql.Literal(f"{LOCK_TIMEOUT_S}s"))


def erase_rows(
    doors: Doors, server: Server, database: str, schema: str, tenant_id: UUID, *, duty: Duty | None = None
) -> None:
    """Delete the tenant's rows from every table of a schema that tenants share, some at a time, each time committed.

    In whatever order: nobody enters any more, and references are not checked, so that none has to be searched for.
    Where the server does not let us leave that out, all go at once, and references are checked when all are gone.
    """
    with connect(doors.dsn(server, database, MOVER)) as mover:
        mover.execute(_PATIENTLY)
        erase_rows_over(mover, schema, tenant_id, duty=duty)


def erase_rows_over(mover: Connection, schema: str, tenant_id: UUID, *, duty: Duty | None = None) -> None:
    """The same over a connection of the mover's, which checks no references from then on."""
    if mover.execute(_MAY_LEAVE_OUT_CHECKS).fetchone() != (True,):
        _erase_at_once(mover, schema, tenant_id)
        return
    mover.execute("SET session_replication_role = replica")
    duty = duty or at_once()
    duty.begin(mover)
    for table in tables_in(mover, schema):
        some = _SOME.format(
            table=sql.Identifier(schema, table), tenant=sql.Identifier(TENANT_ID), most=sql.Literal(BATCH_ROWS)
        )
        while mover.execute(some, {"tenant": tenant_id}).rowcount:
            duty.rest()


def _erase_at_once(mover: Connection, schema: str, tenant_id: UUID) -> None:
    tables = tables_in(mover, schema)
    if not tables:
        return
    tenant = sql.Identifier(TENANT_ID)
    gone = [
        sql.SQL("{} AS (DELETE FROM {} WHERE {} = {})").format(
            sql.Identifier(f"gone_{number}"), sql.Identifier(schema, table), tenant, sql.Literal(tenant_id)
        )
        for number, table in enumerate(tables)
    ]
    mover.execute(sql.SQL("WITH {} SELECT").format(sql.SQL(", ").join(gone)))


def drop_schema(doors: Doors, server: Server, database: str, schema: str) -> None:
    """Drop a tenant's schema with all that is in it. Whoever holds a lock there is waited for, for LOCK_TIMEOUT_S.

    Whoever makes it at that moment, or drops it, is ended: the worker that sent that may be dead. As `end_others`.
    """
    with connect(of_schema(doors.dsn(server, database, MIGRATOR), schema)) as migrator:
        end_others(migrator)
        migrator.execute(_PATIENTLY)
        migrator.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(OWNER)))
        migrator.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema)))


def drop_fence(doors: Doors, server: Server, database: str, tenant_id: UUID) -> None:
    """Take the tenant's fence away: without one nobody enters. The last thing to go."""
    with connect(doors.dsn(server, database, MIGRATOR)) as migrator:
        migrator.execute("DELETE FROM tenancy.fences WHERE tenant_id = %s", [tenant_id])
