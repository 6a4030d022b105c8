"""What schemas consist of: read in one query a database, and held against others.

A schema's sum is made in the database, so that of those that are as they should be nothing else is fetched.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

from migrations.fleet.replay import OWNER

SHAPE = Path(__file__).with_name("shape.sql")
FETCHED_AT_ONCE = 100
"""Schemas whose objects are fetched by one query: some 10 kB each."""

# An order that no collation changes, and separators that no name and no definition holds.
_SUMS = """
SELECT schema, encode(sha256(convert_to(string_agg(
           concat_ws(chr(31), kind, coalesce("table", ''), name, coalesce(definition, '')), chr(30)
           ORDER BY kind COLLATE "C", "table" COLLATE "C", name COLLATE "C"), 'UTF8')), 'hex')
  FROM ({shape}) AS part
 GROUP BY schema
"""
_INVALID = " INVALID"
_CHECKED = frozenset({"table", "column", "constraint", "index", "policy"})


class Part(NamedTuple):
    """One object of a schema, by what it is, what it is part of, and its own name."""

    kind: str
    table: str | None
    name: str

    def __str__(self) -> str:
        if self.table is None:
            return self.name
        return f"{self.table} to {self.name}" if self.kind == "grant" else f"{self.table}.{self.name}"


Parts = Mapping[Part, str]
"""By object, its definition: the same text wherever the same revision was built."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """An object that is not as expected. A definition is None where the object is missing."""

    part: Part
    expected: str | None
    found: str | None

    @property
    def how(self) -> str:
        """In a word: missing, unexpected, differs, or invalid for an index that was begun and never finished."""
        if self.found is not None and self.part.kind == "index" and self.found.endswith(_INVALID):
            return "invalid"
        if self.expected is None:
            return "unexpected"
        return "missing" if self.found is None else "differs"


@dataclass(frozen=True, kw_only=True)
class Expected:
    """An object that has to be there after a revision, or has to be gone."""

    kind: str
    table: str | None
    name: str
    present: bool


def sums(connection: psycopg.Connection[Any], schemas: Sequence[str]) -> dict[str, str]:
    """A sum of all that each schema consists of, by name; schemas that are not there are left out.

    Equal in two schemas whose objects and definitions are. In a transaction of the caller's, its search_path is another
    afterwards; otherwise nothing changes. 1,000 schemas of four tables in 0.9 s (measured).
    """
    query = _SUMS.format(shape=shape_query()).encode()
    return dict(connection.execute(query, _parameters(schemas)).fetchall())


def objects(connection: psycopg.Connection[Any], schemas: Sequence[str]) -> dict[str, dict[Part, str]]:
    """What each schema consists of, by name; schemas that are not there are left out. About search_path: see `sums`."""
    found: dict[str, dict[Part, str]] = {}
    for start in range(0, len(schemas), FETCHED_AT_ONCE):
        some = schemas[start : start + FETCHED_AT_ONCE]
        for schema, kind, table, name, definition in connection.execute(shape_query().encode(), _parameters(some)):
            found.setdefault(schema, {})[Part(kind, table, name)] = definition or ""
    return found


def differences(expected: Parts, found: Parts) -> list[Difference]:
    """Every object that is missing, unexpected or another, in order.

    Of a table or function that is missing or unexpected as a whole, its parts are not told one by one.
    """
    told = [
        Difference(part=part, expected=expected.get(part), found=found.get(part))
        for part in sorted(expected.keys() | found.keys(), key=_order)
        if expected.get(part) != found.get(part)
    ]
    whole = {each.part.name for each in told if each.part.table is None and None in (each.expected, each.found)}
    return [each for each in told if each.part.table not in whole]


def touched(before: Parts, after: Parts) -> tuple[Expected, ...]:
    """What a way from one shape to another adds, changes (both are there afterwards) and takes away.

    Tables, columns, constraints, indexes and policies: what `condition` can look for in one target.
    """
    return tuple(
        Expected(kind=part.kind, table=part.table, name=part.name, present=part in after)
        for part in sorted(before.keys() | after.keys(), key=_order)
        if part.kind in _CHECKED and before.get(part) != after.get(part)
    )


def condition(expected: Iterable[Expected]) -> str | None:
    """A condition in SQL that holds where all of it is so in the current schema; None when nothing is expected.

    It may be NULL where it does not. An index counts only when it is valid; a column that is missing is the error
    undefined_column. It is cheap: names are looked up in the server's caches where a function does that, because to
    plan a query on the catalogue costs more than to run it.
    """
    terms = [_look_up(each) for each in expected]
    return sql.SQL(" AND ").join(terms).as_string(None) if terms else None


def _look_up(expected: Expected) -> sql.Composed:
    whole, table, name = _relation(expected.name), _relation(expected.table or ""), sql.Literal(expected.name)
    wanted = sql.SQL("" if expected.present else "NOT ")
    match expected.kind:
        case "index" if expected.present:
            return sql.SQL("(SELECT indisvalid FROM pg_index WHERE indexrelid = {})").format(whole)
        case "table" | "index":
            return sql.SQL("{} IS {}NULL").format(whole, sql.SQL("NOT " if expected.present else ""))
        case "column" if expected.present:
            return sql.SQL("has_column_privilege({}, {}, 'SELECT')").format(table, name)
        case "column":
            query = "SELECT FROM pg_attribute WHERE attrelid = {} AND attname = {} AND NOT attisdropped"
        case "constraint":
            query = "SELECT FROM pg_constraint WHERE conrelid = {} AND conname = {}"
        case _:
            query = "SELECT FROM pg_policy WHERE polrelid = {} AND polname = {}"
    return sql.SQL("{}EXISTS ({})").format(wanted, sql.SQL(query).format(table, name))


def _relation(name: str) -> sql.Composed:
    """The table or index of that name in the current schema, NULL when there is none."""
    quoted = sql.Identifier(name).as_string(None)
    return sql.SQL("to_regclass(quote_ident(current_schema()) || {})").format(sql.Literal(f".{quoted}"))


def _order(part: Part) -> tuple[str, str, str]:
    """An object before its parts."""
    return (part.table or part.name, part.kind if part.table is not None else "", part.name)


@functools.cache
def shape_query() -> str:
    """The query of shape.sql."""
    return SHAPE.read_text()


def _parameters(schemas: Sequence[str]) -> dict[str, object]:
    return {"schemas": list(schemas), "owner": OWNER}
