"""What a home has of a tenant, by its catalogue: the tables, their columns, and what stays behind.

Secrets stay behind. Which those are, the app says: `info={"export": False}` at a table or a column of its metadata.
"""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql
from sqlalchemy import MetaData

from control_plane.domain.errors import ConflictError
from provisioning.roles import Connection

EXPORT = "export"
"""The key in `info`."""
VERSION_TABLE = "alembic_version"
TENANT_ID = "tenant_id"

TABLES = """
SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname = %(schema)s AND c.relname <> %(version)s
 ORDER BY c.relname
"""
_COLUMNS = """
SELECT a.attname, a.atttypid = 'bytea'::regtype, coalesce(array_position(i.indkey::int[], a.attnum::int), -1)
  FROM pg_attribute a LEFT JOIN pg_index i ON i.indrelid = a.attrelid AND i.indisprimary
 WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY a.attnum
"""


class UnknownContentError(ConflictError):
    """The home has tables or columns that this version of the app does not know, so that they may be secrets."""

    code = "export_unknown_content"


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a tenant table."""

    name: str
    is_bytes: bool


@dataclass(frozen=True, kw_only=True)
class Table:
    """A tenant table: what of it is written, by which columns in order."""

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Content:
    """All that is written, and what is not: `table` or `table.column`."""

    tables: tuple[Table, ...]
    left_out: tuple[str, ...]


def tables_in(connection: Connection, schema: str) -> list[str]:
    """The tables of a tenant's schema, or of the one that tenants share; the chain's own is none."""
    found = connection.execute(TABLES, {"schema": schema, "version": VERSION_TABLE})
    return [name for (name,) in found.fetchall()]


def content_of(connection: Connection, schema: str, metadata: MetaData) -> Content:
    """What is to be written; UnknownContentError, naming it, when something is there that `metadata` does not know."""
    tables: list[Table] = []
    left_out: list[str] = []
    unknown: list[str] = []
    for name in tables_in(connection, schema):
        known = metadata.tables.get(name)
        if known is None or TENANT_ID not in known.columns:
            unknown.append(name)
        elif not known.info.get(EXPORT, True):
            left_out.append(name)
        else:
            there = _columns(connection, schema, name)
            told = {column.name: bool(column.info.get(EXPORT, True)) for column in known.columns}
            unknown += [f"{name}.{column}" for column, _, _ in there if column not in told]
            left_out += [f"{name}.{column}" for column, _, _ in there if not told.get(column, True)]
            tables.append(_table(name, [row for row in there if told.get(row[0])]))
    if unknown:
        raise UnknownContentError(f"{UnknownContentError().message[:-1]}: {', '.join(unknown)}")
    return Content(tables=tuple(tables), left_out=tuple(left_out))


def _columns(connection: Connection, schema: str, table: str) -> list[tuple[str, bool, int]]:
    """Of each its name, whether it holds bytes, and where it stands in the primary key; -1 for nowhere."""
    qualified = sql.Identifier(schema, table).as_string(connection)
    return connection.execute(_COLUMNS, [qualified]).fetchall()


def _table(name: str, rows: list[tuple[str, bool, int]]) -> Table:
    key = sorted((position, column) for column, _, position in rows if position >= 0)
    return Table(
        name=name,
        columns=tuple(Column(name=column, is_bytes=is_bytes) for column, is_bytes, _ in rows),
        key=tuple(column for _, column in key),
    )
