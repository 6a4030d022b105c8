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
    begins again deletes those first (NotEmptyError). Ends with ANALYZE: a plan made without it takes seconds.
    """
    require_empty(target, schemas[1], tables, tenant_id)
    counter, duty = _Counter(tell), duty or at_once()
    for table in tables:
        duty.begin(source, target)
        ask = partial(counter.add, table.name, 0)
        with source.meanwhile(ask), target.meanwhile(ask):
            _copy_table(source, target, schemas, table, tenant_id, counter, duty)
        counter.tell(table.name)
    _analyze(target, schemas[1], tables, counter, slowly=duty.rests)
    return Size(rows=counter.rows, bytes=counter.bytes)


def _analyze(target: Listening, schema: str, tables: Iterable[Table], counter: _Counter, *, slowly: bool) -> None:
    with at_target(target):
        # Somebody else's ANALYZE of a large table may take a while, and nobody waits behind this one.
        target.execute("SET lock_timeout = 0")
        if slowly:
            target.execute("SET vacuum_cost_delay = '1ms'")
        for table in tables:
            with target.meanwhile(partial(counter.add, table.name, 0)):
                target.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(schema, table.name)))
        target.execute("RESET lock_timeout; RESET vacuum_cost_delay")


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
) -> None:
    columns = sql.SQL(", ").join(map(sql.Identifier, table.stored))
    how = sql.SQL("(FORMAT {})").format(sql.SQL("binary" if table.binary else "text"))
    out = sql.SQL("COPY (SELECT {} FROM {} WHERE {} = {}) TO STDOUT {}").format(
        columns,
        sql.Identifier(schemas[0], table.name),
        sql.Identifier(TENANT_ID),
        sql.Literal(str(tenant_id)),
        how,
    )
    into = sql.SQL("COPY {} ({}) FROM STDIN {}").format(sql.Identifier(schemas[1], table.name), columns, how)
    before, pieces = counter.rows, 0
    with at_target(target), target.cursor() as writing, writing.copy(into) as sink, source.cursor() as reading:
        with closing(_chunks(source, reading, out)) as chunks:
            for number, chunk in chunks:
                sink.write(chunk)
                pieces += number
                # In binary the last piece is no row.
                counter.rows = before + max(pieces - 1, 0)
                counter.add(table.name, len(chunk))
                duty.rest()
        counter.rows = before + reading.rowcount


def _chunks(
    source: Connection, reading: psycopg.Cursor[tuple[object, ...]], out: sql.Composed
) -> Generator[tuple[int, bytes], None, None]:
    """What the source sends, a row a piece, in larger pieces; with how many there are in each."""
    waiting: list[bytes | bytearray | memoryview] = []
    size = 0
    with at_source(source), reading.copy(out) as rows:
        for row in rows:
            waiting.append(row)
            size += len(row)
            if size >= CHUNK_BYTES:
                yield len(waiting), b"".join(waiting)
                waiting, size = [], 0
    yield len(waiting), b"".join(waiting)
