"""Whether two homes have the same rows of a tenant: a count and a sum a table, each as one snapshot has them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from psycopg import sql

from provisioning.exports.content import TENANT_ID
from provisioning.moves.tables import Table
from provisioning.roles import Connection


@dataclass(frozen=True, kw_only=True)
class Sum:
    """What a tenant has in a table. Equal where all rows are, in whatever order."""

    rows: int
    hash: Decimal


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


def sums(connection: Connection, schema: str, tables: Iterable[Table], tenant_id: UUID) -> dict[str, Sum]:
    """By table; in one query, so of one moment, and of that of `places.freeze_view` where that came before.

    The connection must be of a `Place`: values are compared as they are written there. psycopg.Error.
    """
    each = [_sum(schema, table, tenant_id) for table in tables]
    if not each:
        return {}
    found = connection.execute(sql.SQL(" UNION ALL ").join(each)).fetchall()
    return {name: Sum(rows=rows, hash=total) for name, rows, total in found}


def differences(source: Mapping[str, Sum], target: Mapping[str, Sum]) -> list[Difference]:
    """Every table that differs, by name; one that is missing counts as empty."""
    nothing = Sum(rows=0, hash=Decimal(0))
    pairs = {name: (source.get(name, nothing), target.get(name, nothing)) for name in source.keys() | target.keys()}
    return [
        Difference(table=name, source=here, target=there)
        for name, (here, there) in sorted(pairs.items())
        if here != there
    ]


def _sum(schema: str, table: Table, tenant_id: UUID) -> sql.Composed:
    # By name and in order of the names: in which order a home has its columns depends on its past. What is generated
    # is compared as well.
    row = sql.SQL(", ").join(sql.Identifier(name) for name in sorted(column.name for column in table.columns))
    return sql.SQL(
        "SELECT {}::text, count(*), coalesce(sum(hashtextextended(ROW({})::text, 0)::numeric), 0) FROM {} WHERE {} = {}"
    ).format(
        sql.Literal(table.name),
        row,
        sql.Identifier(schema, table.name),
        sql.Identifier(TENANT_ID),
        sql.Literal(str(tenant_id)),
    )
