"""Where targets really are: their version tables, one query a database for all the schemas in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus

from control_plane.domain.errors import CopyholdError
from control_plane.domain.server import Server
from control_plane.doors import Doors, NoDoorError
from migrations.fleet.plan import Target
from migrations.fleet.reaching import Reaching, ServerUnreachableError
from migrations.fleet.words import in_words

MIGRATOR = "copyhold_migrator"
AT_ONCE = 8
FEW = 2
"""A silo's: its own and the tenancy schema."""
UNION_MAX = 500
"""Schemas a query; a longer one takes longer to plan than two."""


class UnseenTargetsError(CopyholdError):
    """Some databases could not be asked where their targets are."""

    code = "targets_unseen"


def seen(
    doors: Doors, servers: Mapping[str, Server], targets: Iterable[Target], *, or_recorded: bool = False
) -> list[Target]:
    """The targets, each with the revision that it really is at.

    Those of a database that does not answer are left as they are recorded, or without `or_recorded` they are
    UnseenTargetsError.
    """
    by_database: dict[tuple[str, str], list[Target]] = {}
    for target in targets:
        by_database.setdefault((target.server, target.database), []).append(target)
    look = partial(_in_database, doors, servers, Reaching())
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="look") as pool:
        found = list(pool.map(look, by_database.values()))
    unseen = [said for said in found if isinstance(said, str)]
    if unseen and not or_recorded:
        more = f", and {len(unseen) - 1} more" if len(unseen) > 1 else ""
        raise UnseenTargetsError(f"{unseen[0]}{more}")
    told = zip(found, by_database.values(), strict=True)
    return [target for there, recorded in told for target in (recorded if isinstance(there, str) else there)]


def revisions_in(connection: psycopg.Connection[Any], schemas: Sequence[str]) -> dict[str, str]:
    """The revision that each schema's version table has. Those without one are left out."""
    if len(schemas) <= FEW and connection.info.transaction_status == TransactionStatus.IDLE:
        # Nearly always they are there, and to ask the catalogue first costs a fresh connection as much again.
        with suppress(psycopg.errors.UndefinedTable):
            return _versions(connection, schemas)
    there = connection.execute(
        "SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relname = 'alembic_version' AND n.nspname = ANY (%s)",
        [list(schemas)],
    )
    ordered = sorted(schema for (schema,) in there)
    revisions: dict[str, str] = {}
    for start in range(0, len(ordered), UNION_MAX):
        revisions |= _versions(connection, ordered[start : start + UNION_MAX])
    return revisions


def _in_database(
    doors: Doors, servers: Mapping[str, Server], reaching: Reaching, targets: Sequence[Target]
) -> Sequence[Target] | str:
    first = targets[0]
    try:
        dsn = doors.dsn(servers[first.server], first.database, MIGRATOR)
        with reaching.trying(first.server):
            connection = psycopg.connect(dsn, autocommit=True, prepare_threshold=None)
        with connection:
            revisions = revisions_in(connection, [target.schema for target in targets])
    except (psycopg.Error, NoDoorError, ServerUnreachableError) as error:
        return f"{first.server} / {first.database}: {in_words(error)}"
    return [replace(target, revision=revisions.get(target.schema)) for target in targets]


def _versions(connection: psycopg.Connection[Any], schemas: Sequence[str]) -> dict[str, str]:
    one = sql.SQL("SELECT {}, version_num FROM {}")
    each = [one.format(sql.Literal(schema), sql.Identifier(schema, "alembic_version")) for schema in schemas]
    return {str(schema): str(at) for schema, at in connection.execute(sql.SQL(" UNION ALL ").join(each))}
