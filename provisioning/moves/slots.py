"""Slots, by which a source keeps the changes for a stream, and publications, which say whose rows come out of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

import psycopg
from psycopg import pq, sql

from provisioning.exports.content import TENANT_ID
from provisioning.moves.errors import SlotBusyError, at_source
from provisioning.moves.lsn import Lsn, parse_lsn
from provisioning.roles import Connection

SLOT_TRIES = 24
"""Each waits for as long as the connection's lock_timeout."""
PLUGIN = "pgoutput"
# Not the view, which is taken from everybody. Of other roles' sessions it tells this much and no more.
_WRITERS = """
SELECT a.pid, d.datname, r.rolname
  FROM pg_stat_get_activity(NULL) a JOIN pg_database d ON d.oid = a.datid JOIN pg_roles r ON r.oid = a.usesysid
 WHERE a.backend_xid IS NOT NULL AND a.pid <> pg_backend_pid()
 ORDER BY a.pid
"""
_END_READER = """
SELECT pg_terminate_backend(active_pid, 5000) FROM pg_replication_slots WHERE slot_name = %s AND active_pid IS NOT NULL
"""
_DROP_SLOT = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s"


@dataclass(frozen=True, kw_only=True)
class Writer:
    """A session in a transaction that has written something."""

    pid: int
    database: str
    role: str


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A place from which a source keeps the changes."""

    name: str
    start: Lsn
    """What was committed before is in the snapshot, what is committed after it comes out of the stream."""
    snapshot: str | None
    """To be imported before anything else is done on the slot's connection; None when none was asked for."""


Waiting = Callable[[Sequence[Writer]], None]
"""Told who is waited for, each time; may raise to give up."""


def forward_name(tenant_id: UUID) -> str:
    """Of the slot and the publication by which a tenant moves."""
    return f"mv_{tenant_id.hex}"


def back_name(tenant_id: UUID) -> str:
    """Of those by which what is changed in the new home flows back."""
    return f"un_{tenant_id.hex}"


def publish(
    connection: Connection, name: str, schema: str, tables: Iterable[str], tenant_id: UUID, *, fence: bool = True
) -> None:
    """Make the publication of one tenant's rows in these tables and (`fence`) of its fence; one of that name goes.

    Must come before the slot. Whoever changes the tables' shape or vacuums one is waited for, up to lock_timeout. From
    then on an UPDATE or DELETE of a table whose key lacks tenant_id fails, for everybody: see `tables.tables_of`.
    """
    mine = sql.SQL("({} = {})").format(sql.Identifier(TENANT_ID), sql.Literal(str(tenant_id)))
    published = [sql.Identifier(schema, table) for table in tables]
    if fence:
        published.append(sql.Identifier("tenancy", "fences"))
    each = sql.SQL(", ").join(sql.SQL("{} WHERE {}").format(table, mine) for table in published)
    with at_source(connection), connection.transaction():
        _drop_publication(connection, name)
        connection.execute(
            sql.SQL(
                "CREATE PUBLICATION {} FOR TABLE {}"
                " WITH (publish = 'insert, update, delete', publish_via_partition_root = true)"
            ).format(sql.Identifier(name), each)
        )


def unpublish(connection: Connection, name: str) -> None:
    """Drop the publication; it may be gone already."""
    with at_source(connection):
        _drop_publication(connection, name)


def create_slot(
    replication: Connection,
    watcher: Connection,
    name: str,
    *,
    temporary: bool,
    snapshot: bool,
    waiting: Waiting = lambda _: None,
    tries: int = SLOT_TRIES,
) -> Slot:
    """A slot on `replication`, which must be of `Place.replicate`; a temporary one ends with that connection.

    Every transaction of the server that has written something is waited for, as many tries as told; `watcher` is a
    connection to the same server that looks who they are. SlotBusyError names them at the end.
    """
    command = sql.SQL("CREATE_REPLICATION_SLOT {} {} LOGICAL {} (SNAPSHOT {})").format(
        sql.Identifier(name),
        sql.SQL("TEMPORARY" if temporary else ""),
        sql.SQL(PLUGIN),
        sql.Literal("export" if snapshot else "nothing"),
    )
    for _ in range(tries):
        result = replication.pgconn.exec_(command.as_bytes(replication))
        if result.status == pq.ExecStatus.TUPLES_OK:
            point, exported = result.get_value(0, 1), result.get_value(0, 2)
            assert point is not None
            return Slot(name=name, start=parse_lsn(point.decode()), snapshot=exported.decode() if exported else None)
        with at_source(replication):
            if result.error_field(pq.DiagnosticField.SQLSTATE) != b"55P03":
                raise psycopg.errors.error_from_result(result)
        with at_source(watcher):
            writers = open_writers(watcher)
        waiting(writers)
    raise SlotBusyError(f"{SlotBusyError().message[:-1]}: {named(writers)}")


def drop_slot(connection: Connection, name: str) -> None:
    """Drop a slot, ending whoever reads from it; one that is gone, or goes with its reader, is fine. Any database."""
    with at_source(connection):
        connection.execute(_END_READER, [name])
        connection.execute(_DROP_SLOT, [name])


def open_writers(connection: Connection) -> list[Writer]:
    """Who on the server is in a transaction that has written something, in whatever database."""
    rows = connection.execute(_WRITERS).fetchall()
    return [Writer(pid=pid, database=database, role=role) for pid, database, role in rows]


def named(writers: Sequence[Writer]) -> str:
    """Who they are, for a person."""
    if not writers:
        return "a prepared transaction, or one that has just ended"
    return ", ".join(f"{each.role} in {each.database} (process {each.pid})" for each in writers)


def _drop_publication(connection: Connection, name: str) -> None:
    connection.execute(sql.SQL("DROP PUBLICATION IF EXISTS {}").format(sql.Identifier(name)))
