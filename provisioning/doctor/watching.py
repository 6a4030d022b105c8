"""Watching the statements of a revision: what others would wait for, whose rows are touched, how tables change."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
from psycopg import sql

from migrations.fleet.shapes import Part, Parts
from migrations.lint import rules
from migrations.lint.subject import Place, Problem, Subject, in_short
from provisioning.roles import MIGRATOR, OWNER, Connection

# Strongest first, with who may still do what.
LOCKS = {
    "AccessExclusiveLock": "nobody may read or write it",
    "ExclusiveLock": "nobody may write it",
    "ShareRowExclusiveLock": "nobody may write it",
    "ShareLock": "nobody may write it",
}
WRITTEN_ANEW = "written anew while nobody may read or write it"
CHANGES_ROWS = "RowExclusiveLock"
WHOLE = frozenset({"table", "view", "function", "type"})
"""Kinds of objects that an app knows by name."""
TABLES = "SELECT oid FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = current_schema()::regnamespace"
STATE = """
SELECT c.oid, c.relname, c.relfilenode,
       pg_stat_get_xact_numscans(c.oid),
       coalesce((SELECT sum(pg_stat_get_xact_numscans(indexrelid)) FROM pg_index WHERE indrelid = c.oid), 0),
       ARRAY(SELECT mode FROM pg_lock_status() WHERE relation = c.oid AND pid = pg_backend_pid() AND granted)
  FROM pg_class c WHERE c.oid = ANY (%s) AND c.relname <> 'alembic_version'
"""
INDEXES_NOT_BY_TENANT = """
SELECT t.relname || '.' || c.relname
  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
  JOIN pg_class t ON t.oid = i.indrelid AND t.relnamespace = current_schema()::regnamespace
  JOIN pg_attribute a ON a.attrelid = t.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
 WHERE i.indkey[0] <> a.attnum AND (NOT i.indisunique OR a.attnum = ANY (i.indkey::int2[]))
"""
# Without a single row, a policy is never asked. With this off, PostgreSQL refuses whatever one would be asked about.
NOT_ASKING = "SET row_security = off"
_REQUIRED = re.compile(r"\bNOT NULL\b(?!.*\b(?:DEFAULT|GENERATED)\b)")


@dataclass(frozen=True)
class _Table:
    name: str
    file: int
    scans: int
    """Of the whole table."""
    searches: int
    """Through its indexes."""
    locks: frozenset[str]


def tables(connection: Connection) -> list[int]:
    """Those that are there."""
    return [oid for (oid,) in connection.execute(TABLES)]


def execute_watched(
    connection: Connection, subject: Subject, place: Place, statement: str, there: list[int]
) -> tuple[str | None, list[Problem]]:
    """Execute one statement in a transaction: what the tables `there` are waited for long, and what else is wrong."""
    before = _state(connection, there)
    problems = execute(connection, subject, place, statement)
    after = _state(connection, there)
    long = [words for oid, table in after.items() if (words := _long(before[oid], table))]
    for oid, table in after.items():
        began = CHANGES_ROWS in table.locks - before[oid].locks
        if began and table.scans > before[oid].scans and not problems:
            problems = [subject.problem(rules.BACKFILL_AT_ONCE, place=place, detail=table.name)]
    return "; ".join(long) or None, problems


def execute_alone(
    connection: Connection, subject: Subject, place: Place, statement: str
) -> tuple[str | None, list[Problem]]:
    """Execute one statement outside of any transaction: which tables it wrote anew, and what else is wrong."""
    there = tables(connection)
    before = _state(connection, there)
    problems = execute(connection, subject, place, statement)
    after = _state(connection, there)
    anew = [f"{table.name} is {WRITTEN_ANEW}" for oid, table in after.items() if table.file != before[oid].file]
    return "; ".join(anew) or None, problems


def execute(connection: Connection, subject: Subject, place: Place, statement: str) -> list[Problem]:
    """Execute one statement; where policies keep rows from its role, note it and execute it as one who sees all."""
    inside = connection.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
    try:
        if inside:
            with connection.transaction():  # a savepoint
                connection.execute(statement.encode())
        else:
            connection.execute(statement.encode())
    except psycopg.errors.InsufficientPrivilege as error:
        if "row-level security" not in (error.diag.message_primary or ""):
            raise
    else:
        return []
    connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(MIGRATOR)))
    connection.execute(statement.encode())
    connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(OWNER)))
    return [subject.problem(rules.ROWS_REFUSED, place=place, where=in_short(statement))]


def broken_by(subject: Subject, before: Parts, after: Parts) -> Iterator[Problem]:
    """What app versions that know only `before` miss, or do not know to fill in, in tables that were there."""
    for part in sorted(before.keys() - after.keys(), key=str):
        of_a_table_there = part.kind == "column" and Part("table", None, str(part.table)) in after
        if subject.expands and (part.kind in WHOLE or of_a_table_there):
            yield subject.problem(rules.EXPAND_BREAKS, where=f"{part.kind} {part}")
    for part, definition in after.items():
        of_a_table_before = part.kind == "column" and Part("table", None, str(part.table)) in before
        if not of_a_table_before or not _REQUIRED.search(definition):
            continue
        if part not in before:
            yield subject.problem(rules.REQUIRED_FIELD, where=f"column {part}")
        elif subject.expands and not _REQUIRED.search(before[part]):
            yield subject.problem(rules.EXPAND_BREAKS, where=f"column {part}, which is NOT NULL now")


def _state(connection: Connection, there: list[int]) -> dict[int, _Table]:
    return {
        oid: _Table(name=name, file=file, scans=int(scans), searches=int(searches), locks=frozenset(locks))
        for oid, name, file, scans, searches, locks in connection.execute(STATE, [there])
    }


def _long(before: _Table, after: _Table) -> str | None:
    """In words, where the whole table was gone through under a lock that others wait for."""
    held = next((who for lock, who in LOCKS.items() if lock in after.locks), None)
    if held is None:
        return None
    if after.file != before.file:
        return f"{after.name} is {WRITTEN_ANEW}"
    read = after.scans > before.scans or after.searches > before.searches
    return f"{after.name} is read while {held}" if read else None
