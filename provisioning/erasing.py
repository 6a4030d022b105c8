"""Erasing what a tenant has in a home: its rows, its schema, its fence. Every function may be repeated."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from psycopg import sql

from control_plane.domain.server import Server
from control_plane.doors import Doors
from provisioning.duty import Duty, at_once
from provisioning.exports.content import TENANT_ID, tables_in
from provisioning.moves.tables import read_tables
from provisioning.roles import MIGRATOR, MOVER, OWNER, Connection, connect
from provisioning.sessions import end_others, of_schema

Values = tuple[str, ...]
"""Of a key's columns, as text."""

BATCH_ROWS = 1000
LOCK_TIMEOUT_S = 10
# By the key, each batch going on where the one before has ended: while somebody holds an old snapshot, all that was
# deleted stays in the index, and each search from its beginning would walk over it again. In the order of the columns,
# that is, not of the text that they come as, which has the same names.
_LAST_OF_BATCH = sql.SQL("SELECT {last} FROM {table} AS t WHERE {rows} ORDER BY {key} OFFSET {before} LIMIT 1")
_DELETE = sql.SQL("DELETE FROM {table} AS t WHERE {rows}")
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
    names = tables_in(mover, schema)
    for table in read_tables(mover, schema, names)[0] if names else ():
        _erase_by_batches(mover, sql.Identifier(schema, table.name), table.key, tenant_id, duty)


def _erase_by_batches(
    mover: Connection, table: sql.Identifier, key: Sequence[str], tenant_id: UUID, duty: Duty
) -> None:
    """Over and over until a batch is all there is: what came to lie behind us meanwhile is met the next time."""
    by = [sql.Identifier("t", name) for name in key if name != TENANT_ID]
    last = sql.SQL(", ").join(sql.SQL("{}::text").format(name) for name in by)
    order, before = sql.SQL(", ").join(by), sql.Literal(BATCH_ROWS - 1)
    after: Values | None = None
    while True:
        rest = _rows(tenant_id, by, after)
        find = _LAST_OF_BATCH.format(last=last, table=table, rows=rest, key=order, before=before)
        end: Values | None = mover.execute(find).fetchone() if by else None
        mover.execute(_DELETE.format(table=table, rows=_rows(tenant_id, by, after, end)))
        duty.rest()
        if after is None and end is None:
            return
        after = end


def _rows(
    tenant_id: UUID, by: Sequence[sql.Identifier], after: Values | None, until: Values | None = None
) -> sql.Composed:
    """Those of the tenant's whose key is greater than the one, and not than the other."""
    of_tenant = sql.SQL("{} = {}").format(sql.Identifier("t", TENANT_ID), sql.Literal(tenant_id))
    bounds = [
        sql.SQL("({}) {} ({})").format(
            sql.SQL(", ").join(by), sql.SQL(sign), sql.SQL(", ").join(map(sql.Literal, values))
        )
        for sign, values in ((">", after), ("<=", until))
        if values is not None
    ]
    return sql.SQL(" AND ").join([of_tenant, *bounds])


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
