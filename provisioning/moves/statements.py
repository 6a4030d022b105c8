"""What a change of the stream is in SQL, on the table of that name in the target. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from psycopg import sql

from provisioning.exports.content import TENANT_ID
from provisioning.moves.errors import DamagedStreamError, DivergedError, ShapesDifferError
from provisioning.moves.messages import UNCHANGED, Change, Delete, Insert, Relation, Row, Update
from provisioning.moves.tables import Table


class Statement(NamedTuple):
    """One statement, and the command tag with which it must end."""

    text: bytes
    parameters: list[bytes | None]
    tag: bytes


class TableWriter:
    """Writes the changes of one table of the source as statements on the one of that name in the target's schema."""

    def __init__(self, relation: Relation, table: Table, schema: str) -> None:
        """ShapesDifferError unless the source sends exactly the columns that the target stores."""
        self._names = [column.name for column in relation.columns]
        if sorted(self._names) != sorted(table.stored):
            raise ShapesDifferError(f"the columns of {table.name} are not the same in both homes")
        self._table = sql.Identifier(schema, table.name)
        always = {column.name for column in table.columns if column.always}
        self._key = [self._names.index(name) for name in table.key]
        self._tenant = self._names.index(TENANT_ID)
        self._settable = [at for at, name in enumerate(self._names) if name not in always]
        self._updates: dict[tuple[int, ...], bytes] = {}
        self._insert = self._insert_text()
        self._delete = self._delete_text()

    def statement(self, change: Change) -> Statement:
        """What it does, to exactly one row, which is found by its primary key. Values that were not sent stay."""
        match change:
            case Update(old=old, row=row):
                return self._update(old, row)
            case Insert(row=row):
                self._checked(row)
                return Statement(self._insert, _sent(row), b"INSERT 0 1")
            case Delete(old=old):
                self._checked(old)
                return Statement(self._delete, self._key_of(old), b"DELETE 1")

    def tenants(self, change: Change) -> Iterable[bytes | None]:
        """Whose row it is, before and after, as the source writes ids."""
        for row in (change[1], change[-1]):
            if row is not None:
                value = self._checked(row)[self._tenant]
                yield value if value is not UNCHANGED else None

    def _update(self, old: Row | None, row: Row) -> Statement:
        self._checked(row)
        key = self._key_of(row if old is None else self._checked(old))
        changed = tuple(at for at in self._settable if row[at] is not UNCHANGED)
        text = self._updates.get(changed)
        if text is None:
            text = self._updates[changed] = self._update_text(changed)
        return Statement(text, [*_sent(row[at] for at in changed), *key], b"UPDATE 1")

    def _checked(self, row: Row) -> Row:
        if len(row) != len(self._names):
            raise DamagedStreamError("a row has another number of columns than its table")
        return row

    def _key_of(self, row: Row) -> list[bytes | None]:
        key = _sent(row[at] for at in self._key)
        if None in key:
            raise DivergedError("a row is changed whose key is not told")
        return key

    def _insert_text(self) -> bytes:
        # The database's own numbers are the source's, those of a table with GENERATED ALWAYS AS IDENTITY too.
        return self._bytes(
            "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE VALUES ({})",
            sql.SQL(", ").join(map(sql.Identifier, self._names)),
            sql.SQL(", ").join(sql.SQL(f"${number}") for number in range(1, len(self._names) + 1)),
        )

    def _update_text(self, changed: tuple[int, ...]) -> bytes:
        pairs = [self._pair(at, number) for number, at in enumerate(changed, start=1)]
        return self._bytes("UPDATE {} SET {} WHERE {}", sql.SQL(", ").join(pairs), self._found(len(changed)))

    def _delete_text(self) -> bytes:
        return self._bytes("DELETE FROM {} WHERE {}", self._found(0))

    def _found(self, after: int) -> sql.Composed:
        """The condition that finds the row, its parameters coming after so many others."""
        return sql.SQL(" AND ").join(self._pair(at, number) for number, at in enumerate(self._key, start=after + 1))

    def _pair(self, at: int, number: int) -> sql.Composed:
        return sql.SQL("{} = ${}").format(sql.Identifier(self._names[at]), sql.SQL(str(number)))

    def _bytes(self, text: str, *parts: sql.Composable) -> bytes:
        return sql.SQL(text).format(self._table, *parts).as_bytes(None)


def _sent(values: Iterable[object]) -> list[bytes | None]:
    found: list[bytes | None] = []
    for value in values:
        if value is UNCHANGED:
            raise DivergedError("a value is missing that the source did not send")
        assert value is None or isinstance(value, bytes)
        found.append(value)
    return found
