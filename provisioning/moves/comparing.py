"""Whether two homes have the same rows of a tenant: a count and a sum a table, each as one snapshot has them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from psycopg import sql

from provisioning.duty import Duty
from provisioning.exports.content import TENANT_ID
from provisioning.moves.tables import Table
from provisioning.roles import Connection

PIECE_ROWS = 1000
_OUT = sql.SQL("COPY ({}) TO STDOUT (FORMAT binary)")
_BY_TABLE = sql.SQL("SELECT number, count(*), sum(hash) FROM ({}) AS each (number, hash) GROUP BY number")
_SOME = sql.SQL("SELECT count(*) FROM (SELECT FROM {} WHERE {} = %s LIMIT {}) AS few")


@dataclass(kw_only=True)
class Sum:
    """What a tenant has in a table. Equal where all rows are, in whatever order."""

    rows: int = 0
    hash: int = 0


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A table that is not the same in both homes."""

    table: str
    source: Sum
    target: Sum

    def __str__(self) -> str:
        if self.source.rows != self.target.rows:
            return f"{self.table}: {self.source.rows} rows in the source, {self.target.rows} in the target"
        return f"{self.table}: the same number of rows, not the same rows"


def sums(
    connection: Connection, schema: str, tables: Sequence[Table], tenant_id: UUID, *, duty: Duty | None = None
) -> dict[str, Sum]:
    """By table; in one query, so of one moment, and of that of `places.freeze_view` where that came before.

    With `duty` the hashes of the rows are added up here, with rests. Without it somebody waits, and the server adds
    them up: a fifth to a half of the time less, and a processor of the server's busy to the end.
    The connection must be of a `Place`: values are compared as they are written there. psycopg.Error.
    """
    if not tables:
        return {}
    hashes = sql.SQL(" UNION ALL ").join(_hashes(*each, schema, tenant_id) for each in enumerate(tables))
    found = _added_there(connection, hashes) if duty is None else _added_here(connection, hashes, duty)
    return {table.name: found.get(number, Sum()) for number, table in enumerate(tables)}


def _added_there(connection: Connection, hashes: sql.Composed) -> dict[int, Sum]:
    found = connection.execute(_BY_TABLE.format(hashes))
    return {table: Sum(rows=rows, hash=int(total)) for table, rows, total in found.fetchall()}


def _added_here(connection: Connection, hashes: sql.Composed, duty: Duty) -> dict[int, Sum]:
    found: dict[int, Sum] = defaultdict(Sum)
    duty.begin(connection)
    with connection.cursor() as cursor, cursor.copy(_OUT.format(hashes)) as rows:
        rows.set_types(["int2", "int8"])
        for number, (table, value) in enumerate(rows.rows()):
            found[table].rows += 1
            found[table].hash += value
            if number % PIECE_ROWS == 0:
                duty.rest()
    return found


def has_more_rows(connection: Connection, schema: str, tables: Iterable[Table], tenant_id: UUID, than: int) -> bool:
    """Whether the tenant has more rows than so many; no more of them are looked at in each table. psycopg.Error."""
    found = 0
    for table in tables:
        some = _SOME.format(
            sql.Identifier(schema, table.name), sql.Identifier(TENANT_ID), sql.Literal(max(than + 1, 0))
        )
        ((rows,),) = connection.execute(some, [tenant_id]).fetchall()
        found += rows
    return found > than


def differences(source: Mapping[str, Sum], target: Mapping[str, Sum]) -> list[Difference]:
    """Every table that differs, by name; one that is missing counts as empty."""
    nothing = Sum()
    pairs = {name: (source.get(name, nothing), target.get(name, nothing)) for name in source.keys() | target.keys()}
    return [
        Difference(table=name, source=here, target=there)
        for name, (here, there) in sorted(pairs.items())
        if here != there
    ]


def _hashes(number: int, table: Table, schema: str, tenant_id: UUID) -> sql.Composed:
    # By name and in order of the names: in which order a home has its columns depends on its past. What is generated
    # is compared as well.
    row = sql.SQL(", ").join(sql.Identifier(name) for name in sorted(column.name for column in table.columns))
    return sql.SQL("SELECT {}::int2, hashtextextended(ROW({})::text, 0) FROM {} WHERE {} = {}").format(
        sql.Literal(number),
        row,
        sql.Identifier(schema, table.name),
        sql.Identifier(TENANT_ID),
        sql.Literal(str(tenant_id)),
    )
