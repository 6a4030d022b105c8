"""Where targets really are: their version tables, one query a database for all the schemas in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import psycopg
from psycopg import sql

from control_plane.domain.errors import CopyholdError
from control_plane.domain.server import Server
from control_plane.registry.servers import direct_dsn
from migrations.fleet.plan import Target
from migrations.fleet.words import in_words

MIGRATOR = "copyhold_migrator"
AT_ONCE = 8
UNION_MAX = 500
"""Schemas a query; a longer one takes longer to plan than two."""


class UnseenTargetsError(CopyholdError):
    """Some databases could not be asked where their targets are."""

    code = "targets_unseen"


def seen(servers: Mapping[str, Server], targets: Iterable[Target]) -> list[Target]:
    """The targets, each with the revision that it really is at. UnseenTargetsError when a database does not answer."""
    by_database: dict[tuple[str, str], list[Target]] = {}
    for target in targets:
        by_database.setdefault((target.server, target.database), []).append(target)
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="look") as pool:
        found = list(pool.map(partial(_in_database, servers), by_database.values()))
    unseen = [said for said in found if isinstance(said, str)]
    if unseen:
        more = f", and {len(unseen) - 1} more" if len(unseen) > 1 else ""
        raise UnseenTargetsError(f"{unseen[0]}{more}")
    return [target for there in found if not isinstance(there, str) for target in there]


def revisions_in(connection: psycopg.Connection[Any], schemas: Sequence[str]) -> dict[str, str]:
    """The revision that each schema's version table has. Those without one are left out."""
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


def _in_database(servers: Mapping[str, Server], targets: Sequence[Target]) -> list[Target] | str:
    first = targets[0]
    try:
        dsn = direct_dsn(servers[first.server], first.database, MIGRATOR)
        with psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as connection:
            revisions = revisions_in(connection, [target.schema for target in targets])
    except psycopg.Error as error:
        return f"{first.server} / {first.database}: {in_words(error)}"
    return [replace(target, revision=revisions.get(target.schema)) for target in targets]


def _versions(connection: psycopg.Connection[Any], schemas: Sequence[str]) -> dict[str, str]:
    one = sql.SQL("SELECT {}, version_num FROM {}")
    each = [one.format(sql.Literal(schema), sql.Identifier(schema, "alembic_version")) for schema in schemas]
    return {str(schema): str(at) for schema, at in connection.execute(sql.SQL(" UNION ALL ").join(each))}
