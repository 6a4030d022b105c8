"""The first copy: all of a tenant's rows as one snapshot has them, table after table, parents first."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from uuid import UUID

import psycopg
from psycopg import sql

from provisioning.duty import Duty, at_once
from provisioning.exports.content import TENANT_ID
from provisioning.moves.errors import NotEmptyError, at_source, at_target
from provisioning.moves.listening import Listening
from provisioning.moves.places import Place, closed_at_the_end
from provisioning.moves.tables import Table
from provisioning.roles import Connection

CHUNK_BYTES = 1 << 16
TOLD_EVERY_S = 0.2
CHANGED, CHANGED_OF_ALL = 50, 0.1
"""So many rows, and so much of a table's, change before autovacuum analyses it, unless it is configured otherwise."""
ROUGHLY = 10
"""A statistics target: 3,000 rows are looked at, in some ten milliseconds, where the usual 100 take half a second."""
_BINARY_HEAD, _BINARY_TAIL = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much a tenant has in a table, or in all of them."""

    rows: int
    bytes: int
    """Of the values, as they are stored."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far the copy has come."""

    table: str
    rows: int
    bytes: int
    """As they travel, and of all tables so far, as `rows`."""


Tell = Callable[[Progress], None]
"""Called a few times a second, even while a server waits for a lock, and at the end of each table; what it raises
ends the copy.
"""


@contextmanager
def snapshot_of(source: Place, snapshot: str) -> Iterator[Listening]:
    """A connection that sees what that exported snapshot has, for as long as the block lasts.

    The slot's connection must not have been used since it exported the snapshot; afterwards it may be.
    """
    with at_source():
        connection = source.connect()
    with closed_at_the_end(connection):
        with at_source(connection):
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            connection.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(snapshot)))
        yield connection


def ignore_triggers(target: Connection) -> bool:
    """Have the connection fire no triggers and check no references, where the server lets it; whether it does.

    Where it does not, all works as well, and takes longer; then no table may have triggers of the app's own.
    """
    try:
        with at_target(target):
            target.execute("SET session_replication_role = replica")
    except Exception as error:
        if isinstance(error.__cause__, psycopg.errors.InsufficientPrivilege):
            return False
        raise
    return True


def sizes(source: Connection, schema: str, tables: Iterable[Table], tenant_id: UUID) -> dict[str, Size]:
    """By table, how much there is to copy: every row of the tenant is read for it."""
    query = sql.SQL("SELECT count(*), coalesce(sum(pg_column_size(t.*)), 0)::bigint FROM {} AS t WHERE {} = %s")
    found = {}
    for table in tables:
        with at_source(source):
            each = query.format(sql.Identifier(schema, table.name), sql.Identifier(TENANT_ID))
            ((rows, size),) = source.execute(each, [tenant_id]).fetchall()
        found[table.name] = Size(rows=rows, bytes=size)
    return found


def require_empty(target: Connection, schema: str, tables: Iterable[Table], tenant_id: UUID) -> None:
    """NotEmptyError, naming the tables, when the target has rows of that tenant."""
    query = sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE {} = %s)")
    filled = []
    for table in tables:
        with at_target(target):
            each = query.format(sql.Identifier(schema, table.name), sql.Identifier(TENANT_ID))
            if target.execute(each, [tenant_id]).fetchone() == (True,):
                filled.append(table.name)
    if filled:
        raise NotEmptyError(f"{NotEmptyError().message[:-1]}: {', '.join(filled)}")


def copy_rows(
    source: Listening,
    target: Listening,
    schemas: tuple[str, str],
    tables: Sequence[Table],
    tenant_id: UUID,
    *,
    tell: Tell = lambda _: None,
    duty: Duty | None = None,
) -> Size:
    """Copy what `source` sees of the tenant from the first of the schemas into the second; how much it was.

    `tables` are in their order; a table is committed at its end, so that what fails leaves some of them behind: whoever
    begins again deletes those first (NotEmptyError), over another connection. No triggers fire, and no references are
    checked, where the server lets us. Each table that has grown gets statistics: a plan made without takes seconds.
    """
    require_empty(target, schemas[1], tables, tenant_id)
    counter, duty = _Counter(tell), duty or at_once()
    ignores = ignore_triggers(target)
    for table in tables:
        duty.begin(source, target)
        before = counter.rows
        ask = partial(counter.add, table.name, 0)
        with source.meanwhile(ask), target.meanwhile(ask):
            _copy_table(source, target, schemas, table, tenant_id, counter, duty, whole=not (ignores and duty.rests))
        counter.tell(table.name)
        with target.meanwhile(ask):
            _analyze(target, schemas[1], table, counter.rows - before, slowly=duty.rests)
    if ignores:
        with at_target(target):
            target.execute("RESET session_replication_role")
    return Size(rows=counter.rows, bytes=counter.bytes)


def _analyze(target: Listening, schema: str, table: Table, more: int, *, slowly: bool) -> None:
    """Have statistics of a table with so many rows more: rough ones where autovacuum is to make others soon."""
    name = sql.Identifier(schema, table.name)
    known = "SELECT greatest(reltuples, 0), relkind = 'p' FROM pg_class WHERE oid = %s::regclass"
    with at_target(target):
        ((rows, is_partitioned),) = target.execute(known, [name.as_string(target)]).fetchall()
        is_due = more > CHANGED + CHANGED_OF_ALL * (rows + more)
        if not is_due and (rows or not more):
            return
        # Somebody else's ANALYZE of a large table may take a while, and nobody waits behind this one.
        target.execute("SET lock_timeout = 0")
        columns: sql.Composable = sql.SQL("")
        if is_due and not is_partitioned:
            target.execute(sql.SQL("SET default_statistics_target = {}").format(ROUGHLY))
            # Of its columns by name: that leaves autovacuum to think that nobody has looked at it yet.
            columns = sql.SQL("({})").format(_names(table))
        elif slowly:
            target.execute("SET vacuum_cost_delay = '1ms'")
        target.execute(sql.SQL("ANALYZE {} {}").format(name, columns))
        target.execute("RESET lock_timeout; RESET default_statistics_target; RESET vacuum_cost_delay")


@dataclass
class _Counter:
    """What has been copied so far."""

    _tell: Tell
    rows: int = 0
    bytes: int = 0
    _told_at: float = 0.0

    def add(self, table: str, chunk_bytes: int) -> None:
        self.bytes += chunk_bytes
        if time.monotonic() - self._told_at > TOLD_EVERY_S:
            self.tell(table)

    def tell(self, table: str) -> None:
        self._told_at = time.monotonic()
        self._tell(Progress(table=table, rows=self.rows, bytes=self.bytes))


def _copy_table(
    source: Connection,
    target: Listening,
    schemas: tuple[str, str],
    table: Table,
    tenant_id: UUID,
    counter: _Counter,
    duty: Duty,
    *,
    whole: bool,
) -> None:
    """In one COPY or in one a chunk. At the end of each are references checked, also those of a table to itself."""
    columns, how = _names(table), sql.SQL("(FORMAT {})").format(sql.SQL("binary" if table.binary else "text"))
    out = sql.SQL("COPY (SELECT {} FROM {} WHERE {} = {}) TO STDOUT {}").format(
        columns,
        sql.Identifier(schemas[0], table.name),
        sql.Identifier(TENANT_ID),
        sql.Literal(str(tenant_id)),
        how,
    )
    into = sql.SQL("COPY {} ({}) FROM STDIN {}").format(sql.Identifier(schemas[1], table.name), columns, how)
    with at_target(target), source.cursor() as reading, closing(_chunks(source, reading, out)) as chunks:
        target.execute("BEGIN")
        # The end of a COPY is waited for: what its server has yet to do would not count as work.
        for piece in [chunks] if whole else ([chunk] for chunk in chunks):
            _write(target, into, table, _rested(piece, duty) if whole else piece, counter)
            duty.rest()
        target.execute("COMMIT")


def _names(table: Table) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, table.stored))


def _rested(chunks: Iterable[tuple[int, bytes]], duty: Duty) -> Iterator[tuple[int, bytes]]:
    for chunk in chunks:
        yield chunk
        duty.rest()


def _write(
    target: Listening, into: sql.Composed, table: Table, chunks: Iterable[tuple[int, bytes]], counter: _Counter
) -> None:
    """One COPY of it all, done when this returns."""
    with target.cursor() as writing, writing.copy(into) as sink:
        if table.binary:
            sink.write(_BINARY_HEAD)
        for rows, chunk in chunks:
            sink.write(chunk)
            counter.rows += rows
            counter.add(table.name, len(chunk))
        if table.binary:
            sink.write(_BINARY_TAIL)


def _chunks(
    source: Connection, reading: psycopg.Cursor[tuple[object, ...]], out: sql.Composed
) -> Generator[tuple[int, bytes], None, None]:
    """What the source sends, a row a message, in larger chunks without head and tail; how many rows each has."""
    waiting: list[bytes] = []
    size = 0
    with at_source(source), reading.copy(out) as messages:
        for message in messages:
            row = bytes(message).removeprefix(_BINARY_HEAD)
            if row in {b"", _BINARY_TAIL}:
                continue
            waiting.append(row)
            size += len(row)
            if size >= CHUNK_BYTES:
                yield len(waiting), b"".join(waiting)
                waiting, size = [], 0
    if waiting:
        yield len(waiting), b"".join(waiting)
