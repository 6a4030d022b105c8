"""Numbers that a home gives to its rows itself: the next one must be new in the new home too."""

from __future__ import annotations

from collections.abc import Iterable

from psycopg import sql

from provisioning.moves.errors import at_source, at_target
from provisioning.moves.tables import Table
from provisioning.roles import Connection

_LAST = sql.SQL("SELECT last_value, is_called FROM {}")
# As one statement: somebody else's tenants in the target take numbers from it all the time.
_ADVANCE = sql.SQL("SELECT setval({name}, greatest(last_value, {last}), is_called OR {last} > last_value OR {called})")


def advance_sequences(
    source: Connection, source_tables: Iterable[Table], target: Connection, target_tables: Iterable[Table]
) -> None:
    """Have no column of the target give a number that the source has given: to be called when nobody writes there.

    Only sequences that belong to a column are looked at; there are no others (see `tables_of`).
    """
    wanted = _sequences(target_tables)
    for place, there in _sequences(source_tables).items():
        here = wanted.get(place)
        if here is None:
            continue
        with at_source(source):
            ((last, called),) = source.execute(_LAST.format(sql.SQL(there))).fetchall()
        with at_target(target):
            values = {"name": sql.Literal(here), "last": sql.Literal(last), "called": sql.Literal(called)}
            target.execute(_ADVANCE.format(**values) + sql.SQL(" FROM ") + sql.SQL(here))


def _sequences(tables: Iterable[Table]) -> dict[tuple[str, str], str]:
    """By table and column; the names come quoted and qualified from the catalogue."""
    return {
        (table.name, column.name): column.sequence
        for table in tables
        for column in table.columns
        if column.sequence is not None
    }
