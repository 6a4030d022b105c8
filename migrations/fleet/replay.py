"""Bringing one target to a revision, over a direct connection, safe to repeat."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from control_plane.domain.errors import ConflictError, CopyholdError
from migrations.fleet.chains import Chain, Phase

LOCK_TIMEOUT_MS = 2_000
"""How long DDL queues for a table; behind it the tenant's own reads queue."""
CONCURRENT_LOCK_TIMEOUT_MS = 60_000
"""The same outside of a transaction: what runs CONCURRENTLY waits for older transactions, and nobody waits for it."""
STATEMENT_TIMEOUT_MS = 600_000
LOCK_TRIES = 5
TARGET_LOCK_WAIT_S = 60.0
POLL_S = 0.05


class TargetBusyError(ConflictError):
    """Another migration holds this target."""

    code = "target_busy"


class NotMigratedError(CopyholdError):
    """The target is not at the revision that it was brought to."""

    code = "not_migrated"


# What a CREATE INDEX CONCURRENTLY that did not finish leaves behind: IF NOT EXISTS would take it for done.
INVALID_INDEXES = """
SELECT i.relname FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
 WHERE NOT x.indisvalid AND i.relkind = 'i' AND NOT i.relispartition
   AND i.relnamespace = current_schema()::regnamespace
"""


def bring_to(dsn: str, chain: Chain, schema: str, wanted: str, *, owner: str = "copyhold_owner") -> str | None:
    """Bring the target at `schema` of the database at `dsn` to `wanted`; says where it is afterwards.

    That is `wanted`, or the later revision at which it was found, and left. `dsn` is a direct connection of a role that
    may become `owner`, who owns what is made. Committed a revision at a time; the version row is read back. DDL that
    waits longer than LOCK_TIMEOUT_MS for a table gives way and is tried again, LOCK_TRIES times in all.
    """
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as connection:
        _settle(connection, schema, owner)
        with _target_lock(connection, f"{chain.name}/{schema}"):
            current = version(connection, chain)
            if current == wanted or not chain.upgrades(current, wanted):
                return current
            for phase in chain.compiled(current, wanted):
                _send(connection, phase)
            if version(connection, chain) != wanted:
                raise NotMigratedError(wanted=wanted)
            return wanted


def version(connection: psycopg.Connection[Any], chain: Chain) -> str | None:
    """The target's revision, or None before the first; the connection's search_path names the target."""
    table = sql.Identifier(*([chain.version_schema] if chain.version_schema else []), "alembic_version")
    found = connection.execute("SELECT to_regclass(%s)", [table.as_string(connection)]).fetchone()
    if found is None or found[0] is None:
        return None
    row = connection.execute(sql.SQL("SELECT version_num FROM {}").format(table)).fetchone()
    return str(row[0]) if row else None


def _settle(connection: psycopg.Connection[Any], schema: str, owner: str) -> None:
    settings = sql.SQL("SET ROLE {}; SET search_path = {}; SET lock_timeout = {}; SET statement_timeout = {}")
    connection.execute(
        settings.format(sql.Identifier(owner), sql.Identifier(schema), LOCK_TIMEOUT_MS, STATEMENT_TIMEOUT_MS)
    )


@contextmanager
def _target_lock(connection: psycopg.Connection[Any], name: str) -> Iterator[None]:
    # Polled: a session that waits inside pg_advisory_lock deadlocks with CREATE INDEX CONCURRENTLY.
    deadline = time.monotonic() + TARGET_LOCK_WAIT_S
    while not _scalar(connection, "SELECT pg_try_advisory_lock(hashtextextended(%s, 42))", name):
        if time.monotonic() > deadline:
            raise TargetBusyError(target=name)
        time.sleep(POLL_S)
    try:
        yield
    finally:
        if not connection.broken:
            _scalar(connection, "SELECT pg_advisory_unlock(hashtextextended(%s, 42))", name)


def _send(connection: psycopg.Connection[Any], phase: Phase) -> None:
    for attempt in range(1, LOCK_TRIES + 1):
        try:
            _send_once(connection, phase)
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            if attempt == LOCK_TRIES:
                raise
            time.sleep(0.1 * 2**attempt)
        else:
            return


def _send_once(connection: psycopg.Connection[Any], phase: Phase) -> None:
    statements = phase.sql.encode()  # bytes: sent as they are, many at once
    if phase.transactional:
        with connection.transaction():
            connection.execute(statements)
        return
    _drop_invalid_indexes(connection)
    set_timeout = sql.SQL("SET lock_timeout = {}")
    connection.execute(set_timeout.format(CONCURRENT_LOCK_TIMEOUT_MS))
    try:
        connection.execute(statements)
    finally:
        if not connection.broken:
            connection.execute(set_timeout.format(LOCK_TIMEOUT_MS))


def _drop_invalid_indexes(connection: psycopg.Connection[Any]) -> None:
    for (name,) in connection.execute(INVALID_INDEXES).fetchall():
        connection.execute(sql.SQL("DROP INDEX IF EXISTS {}").format(sql.Identifier(name)))


def _scalar(connection: psycopg.Connection[Any], query: LiteralString, *values: object) -> Any:
    row = connection.execute(query, values).fetchone()
    return row[0] if row else None
