"""Looking into one database that holds tenants: the checks of its catalogue, and what the roll is compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

import psycopg
from psycopg import sql

from control_plane.domain.server import Server
from control_plane.doors import Doors, NoDoorError
from migrations.fleet.chains import HOME
from provisioning.doctor.catalogue import Parameters, Visit, catalogue, in_words, look_into
from provisioning.doctor.findings import Check, Finding, Severity
from provisioning.doctor.functions import fingerprints
from provisioning.doctor.roll import RollDatabase
from provisioning.roles import (
    BACKUP,
    IDLE_TIMEOUT_S,
    LEAKPROOF_COST,
    MIGRATOR,
    MOVER,
    OWNER,
    STATEMENT_TIMEOUT_S,
    SUPERUSER,
    TAKEN_FUNCTIONS,
    TAKEN_PATTERN,
    TAKEN_VIEWS,
    is_superuser,
)

UNREACHABLE = Check(
    "database_unreachable",
    Severity.ERROR,
    "a database on the roll cannot be looked into",
    "see to what the message says: its tenants are not served either",
)
PLATFORM_ROLES = (SUPERUSER, OWNER, MIGRATOR, MOVER, BACKUP)
CATALOGUE_OPEN = Check(
    "catalogue_open",
    Severity.WARNING,
    "tenants could use PostgreSQL's own functions and views against each other, and the administrator is no superuser",
    "have a superuser run what `copyhold server hardening {server}` prints",
)
"""Told once a server: stands for all of OF_A_SUPERUSER where nobody of ours can see to them."""
OF_A_SUPERUSER = frozenset({"taken_function", "taken_view", "language_usage", "leakproof_function"})
# As a policy reads when search_path holds pg_catalog alone: nobody else's `=` or current_tenant looks the same.
POLICY = "(tenant_id = ( SELECT tenancy.current_tenant() AS current_tenant))"

_HOME_REVISION = b"SELECT version_num FROM tenancy.alembic_version"
# Whether a schema holds a version table. Of public only that is of interest: in a bridge database it holds nothing.
_TARGETS = b"""
SELECT n.nspname, c.oid IS NOT NULL
  FROM pg_namespace n
  LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = 'alembic_version' AND c.relkind = 'r'
 WHERE n.nspname ~ '^t_[0-9a-f]{32}$' OR (n.nspname = 'public' AND c.oid IS NOT NULL)
"""
_FOREIGN = b"""
SELECT nspname, pg_get_userbyid(nspowner) FROM pg_namespace
 WHERE nspname ~ '^t_[0-9a-f]{32}$' AND pg_get_userbyid(nspowner) <> %(owner)s
"""
_NO_REVISION = sql.SQL("SELECT NULL, NULL WHERE false").format()
_REVISION = sql.SQL("SELECT {name} AS schema, max(version_num) AS revision FROM {schema}.alembic_version")
_FENCES = b"SELECT tenant_id, epoch, state FROM tenancy.fences"
# The digest is made inside, so that no key leaves its database.
KEY_DIGEST = b"SELECT encode(sha256(inner_pad || outer_pad), 'hex') FROM tenancy.keys"


@dataclass(frozen=True, kw_only=True)
class Fence:
    """A tenant's fence as it stands in a home."""

    epoch: int
    state: str


@dataclass(frozen=True, kw_only=True)
class HomeSeen:
    """What one database holds."""

    home_revision: str | None
    targets: Mapping[str, str | None]
    """By schema, the revision that stands there. Of every schema of a tenant, and of public where it has tables."""
    foreign: Mapping[str, str]
    """Who owns a tenant's schema, by those that are not the platform's own."""
    fences: Mapping[UUID, Fence]
    key_digest: str | None


@dataclass(frozen=True, kw_only=True)
class HomeLook:
    """What came of looking: `seen` is None for a database that could not be looked into."""

    seen: HomeSeen | None
    findings: tuple[Finding, ...]
    tables: int = 0


def look_at_home(doors: Doors, server: Server, database: RollDatabase, *, lint: bool) -> HomeLook:
    """Read what the roll is compared with and, with `lint`, check the catalogue, over one connection.

    A database that cannot be looked into is a finding.
    """
    try:
        with look_into(doors, server, database.name) as connection:
            visit = Visit(connection=connection, server=server.name, database=database.name)
            seen = _read(visit)
            if not lint:
                return HomeLook(seen=seen, findings=tuple(visit.findings))
            parameters = parameters_of(server, database.logins, seen.home_revision)
            visit.run("home", parameters)
            findings = _told_once(visit, server)
            counted = visit.rows("tables", catalogue().facts["tables"], parameters)
            return HomeLook(seen=seen, findings=findings, tables=sum(count for (count,) in counted))
    except (psycopg.Error, NoDoorError) as error:
        found = UNREACHABLE.finding(server=server.name, database=database.name, detail=in_words(error))
        return HomeLook(seen=None, findings=(found,))


def _read(visit: Visit) -> HomeSeen:
    return HomeSeen(
        home_revision=next((row[0] for row in visit.rows("home revision", _HOME_REVISION)), None),
        targets=_revisions(visit),
        foreign=dict(visit.rows("schemas' owners", _FOREIGN, {"owner": OWNER})),
        fences={row[0]: Fence(epoch=row[1], state=row[2]) for row in visit.rows("fences", _FENCES)},
        key_digest=next((row[0] for row in visit.rows("signing key", KEY_DIGEST)), None),
    )


def _revisions(visit: Visit) -> dict[str, str | None]:
    """By schema, in one query for all that have a version table; a tenant's schema without one has None."""
    with suppress(psycopg.errors.UndefinedTable):  # a schema that was dropped between the two queries
        targets, query = _targets(visit)
        return targets | dict(visit.connection.execute(query).fetchall())
    targets, query = _targets(visit)
    return targets | dict(visit.rows("tenant revisions", query))


def _targets(visit: Visit) -> tuple[dict[str, str | None], sql.Composed]:
    found = visit.rows("tenants' schemas", _TARGETS)
    versions = [
        _REVISION.format(name=sql.Literal(schema), schema=sql.Identifier(schema))
        for schema, has_version in found
        if has_version
    ]
    return dict.fromkeys(schema for schema, _ in found), sql.SQL(" UNION ALL ").join(versions or [_NO_REVISION])


def _told_once(visit: Visit, server: Server) -> tuple[Finding, ...]:
    """The findings; in place of those that take a superuser, where there is none, one that is a warning."""
    if is_superuser(visit.connection):
        return tuple(visit.findings)
    others = [finding for finding in visit.findings if finding.check not in OF_A_SUPERUSER]
    if len(others) < len(visit.findings):
        others.append(CATALOGUE_OPEN.finding(server=server.name))
    return tuple(others)


def platform_roles(server: Server) -> list[str]:
    """Those that nothing is found out about because of what they may do there."""
    return list(dict.fromkeys((*PLATFORM_ROLES, server.admin)))


def parameters_of(server: Server, logins: Sequence[str], home_revision: str | None) -> Parameters:
    """What the checks of the catalogue have to be told, for a home with those logins."""
    known = home_revision is not None and home_revision in HOME.revisions
    return {
        "own_logins": list(logins),
        "owner": OWNER,
        "roles": platform_roles(server),
        "policy": POLICY,
        "functions": list(fingerprints(home_revision)) if known and home_revision else None,
        "settings": [
            f"statement_timeout={STATEMENT_TIMEOUT_S}s",
            f"idle_in_transaction_session_timeout={IDLE_TIMEOUT_S}s",
        ],
        "leakproof_cost": LEAKPROOF_COST,
        "taken_names": list(TAKEN_FUNCTIONS),
        "taken_pattern": TAKEN_PATTERN,
        "taken_views": list(TAKEN_VIEWS),
    }
