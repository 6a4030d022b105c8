"""Which tables of a home are moved, in which order, and what keeps a home from being moved at all.

The app's metadata says what there is to be, the catalogue what there is: what only one of them knows is not left behind
silently.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import MetaData

from provisioning.exports.content import TENANT_ID, tables_in
from provisioning.moves.errors import ShapesDifferError, UnmovableError
from provisioning.roles import Connection

_FIRST_OWN_OID = 16384
"""Types from here on have another number in each database, and binary COPY writes numbers."""
_FACTS = """
SELECT c.relname, c.relpersistence, c.relreplident,
       c.relkind = 'r' AND EXISTS (SELECT FROM pg_inherits i WHERE c.oid IN (i.inhparent, i.inhrelid)),
       ARRAY(SELECT a.attname::text
               FROM pg_index i CROSS JOIN unnest(i.indkey::int2[]) WITH ORDINALITY AS k (num, place)
               JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.num
              WHERE i.indrelid = c.oid AND i.indisprimary AND k.place <= i.indnkeyatts ORDER BY k.place),
       ARRAY(SELECT DISTINCT p.relname::text FROM pg_constraint f JOIN pg_class p ON p.oid = f.confrelid
              WHERE f.conrelid = c.oid AND f.contype = 'f' AND p.oid <> c.oid AND p.relnamespace = c.relnamespace),
       ARRAY(SELECT t.tgname::text FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgenabled IN ('A', 'R'))
  FROM pg_class c
 WHERE c.relnamespace = %(schema)s::text::regnamespace AND c.relname = ANY (%(tables)s)
"""
_COLUMNS = """
SELECT c.relname, a.attname,
       CASE WHEN t.typnamespace = c.relnamespace THEN t.typname ELSE format_type(a.atttypid, a.atttypmod) END,
       a.attgenerated <> '', a.attidentity = 'a', a.atttypid < %(own)s,
       pg_get_serial_sequence(c.oid::regclass::text, a.attname),
       coalesce(pg_get_expr(d.adbin, d.adrelid) LIKE '%%nextval(%%' AND a.attgenerated = '', false)
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  JOIN pg_type t ON t.oid = a.atttypid
  LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
 WHERE c.relnamespace = %(schema)s::text::regnamespace AND c.relname = ANY (%(tables)s)
 ORDER BY c.relname, a.attnum
"""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a tenant table."""

    name: str
    type: str
    generated: bool
    always: bool
    """Whether its values come from the database even when others are given (GENERATED ALWAYS AS IDENTITY)."""
    binary: bool
    """Whether its type is written the same in every database when it is written in binary."""
    sequence: str | None
    """Where its numbers come from."""
    numbered: bool
    """Whether its default takes numbers from a sequence."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A tenant table."""

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    parents: frozenset[str]
    """Those that it refers to, without itself."""

    @property
    def stored(self) -> tuple[str, ...]:
        """The columns that are moved; generated ones are computed again."""
        return tuple(column.name for column in self.columns if not column.generated)

    @property
    def binary(self) -> bool:
        """Whether it can be copied in binary."""
        return all(column.binary for column in self.columns if not column.generated)


def tables_of(connection: Connection, schema: str, metadata: MetaData) -> tuple[Table, ...]:
    """Every table that is moved, parents before what refers to them (in a circle: by name).

    UnmovableError, naming all of it, when a table is not part of the app's metadata, or cannot be followed.
    """
    names = tables_in(connection, schema)
    tables, problems = read_tables(connection, schema, names)
    for name in names:
        known = metadata.tables.get(name)
        if known is None:
            problems.append(f"{name}: the app does not know it")
        elif TENANT_ID not in known.columns:
            problems.append(f"{name}: it has no {TENANT_ID}")
    if problems:
        raise UnmovableError(f"{UnmovableError().message[:-1]}: {'; '.join(sorted(problems))}")
    return tables


def read_tables(connection: Connection, schema: str, names: Sequence[str]) -> tuple[tuple[Table, ...], list[str]]:
    """These tables as the catalogue has them, parents first, and why some of them cannot be moved."""
    quoted = connection.execute("SELECT quote_ident(%s)", [schema]).fetchone()
    assert quoted is not None
    values = {"schema": quoted[0], "tables": list(names), "own": _FIRST_OWN_OID}
    columns: dict[str, list[Column]] = {name: [] for name in names}
    for table, *facts in connection.execute(_COLUMNS, values):
        columns[table].append(_column(*facts))
    tables: dict[str, Table] = {}
    problems: list[str] = []
    for name, *facts in connection.execute(_FACTS, values):
        persistence, identity, inherits, key, parents, triggers = facts
        tables[name] = Table(name=name, columns=tuple(columns[name]), key=tuple(key), parents=frozenset(parents))
        problems += [
            f"{name}: {problem}" for problem in _problems(tables[name], persistence, identity, inherits, triggers)
        ]
    return _parents_first(tables), problems


def require_same_shape(source: Sequence[Table], target: Sequence[Table]) -> None:
    """ShapesDifferError, naming what differs, unless both homes have the same tables, keys and columns.

    The order of the columns may differ, as it does where one of them was added later.
    """
    here, there = ({table.name: table for table in tables} for tables in (source, target))
    differing = [
        name
        for name in sorted(here.keys() | there.keys())
        if name not in here or name not in there or _shape(here[name]) != _shape(there[name])
    ]
    if differing:
        raise ShapesDifferError(f"{ShapesDifferError().message[:-1]}: {', '.join(differing)}")


def _problems(table: Table, persistence: str, identity: str, inherits: bool, triggers: list[str]) -> Iterator[str]:
    if TENANT_ID not in table.key:
        # Once such a table is published, every UPDATE and DELETE of anybody's fails.
        yield f"{TENANT_ID} is not part of its primary key"
    if identity not in {"d", "f"}:
        yield "its replica identity is neither its primary key nor the whole row"
    if persistence != "p":
        yield "it is not logged"
    if inherits:
        yield "other tables inherit from it, or it does"
    if triggers:
        yield f"its triggers {', '.join(triggers)} would fire for what is moved"
    for column in table.columns:
        if column.numbered and column.sequence is None:
            yield f"{column.name} takes its numbers from a sequence that does not belong to it"


def _shape(table: Table) -> Any:
    return table.key, frozenset((each.name, each.type, each.generated, each.always) for each in table.columns)


def _column(
    name: str, kind: str, generated: bool, always: bool, binary: bool, sequence: str | None, numbered: bool
) -> Column:
    return Column(
        name=name,
        type=kind,
        generated=generated,
        always=always,
        binary=binary,
        sequence=sequence,
        numbered=numbered,
    )


def _parents_first(tables: Mapping[str, Table]) -> tuple[Table, ...]:
    ordered: list[Table] = []
    left = dict(sorted(tables.items()))
    while left:
        ready = [table for table in left.values() if not table.parents & left.keys()]
        for table in ready or [next(iter(left.values()))]:
            ordered.append(table)
            del left[table.name]
    return tuple(ordered)
