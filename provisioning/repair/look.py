"""Looking at what is there, as far as a plan of repairs asks for it. Changes nothing.

What cannot be looked at is left out: the doctor says so, and nothing is concluded from it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

import psycopg

from control_plane.domain.names import SHARED_SCHEMA
from control_plane.domain.server import Server
from control_plane.doors import Doors, NoDoorError
from migrations.fleet import references
from provisioning.databases import TEMPLATE_LOCK
from provisioning.doctor.catalogue import look_into
from provisioning.doctor.compare import OF_A_HOME, OF_A_LOGIN
from provisioning.doctor.examine import CONCURRENCY
from provisioning.doctor.homes import HomeSeen, look_at_home
from provisioning.doctor.roll import Roll, RollDatabase
from provisioning.estate import Estate
from provisioning.repair import counting
from provisioning.repair.facts import (
    Contents,
    Known,
    Reality,
    SeenDatabase,
    SeenFence,
    SeenIndex,
    SeenPublication,
    SeenRole,
    SeenSchema,
    SeenSlot,
)
from provisioning.repair.orphans import OF_A_MOVE
from provisioning.roles import Connection, is_superuser

_ADMIN_DATABASE = "postgres"

# The file that was written when the database was made, and never since.
_DATABASES = """
SELECT d.datname,
       clock_timestamp() - (pg_stat_file('base/' || d.oid || '/PG_VERSION', true)).modification,
       (SELECT count(*) FROM pg_stat_activity a WHERE a.datid = d.oid AND a.backend_type <> 'autovacuum worker'),
       d.datconnlimit = -2
  FROM pg_database d ORDER BY d.datname
"""
_ROLES = """
SELECT r.rolname,
       EXISTS (SELECT FROM pg_shdepend s
                WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = r.oid AND s.deptype = 'o'),
       (SELECT count(*) FROM pg_stat_activity a WHERE a.usesysid = r.oid)
  FROM pg_roles r WHERE r.rolcanlogin ORDER BY r.rolname
"""
_SLOTS = "SELECT slot_name, database, active FROM pg_replication_slots WHERE NOT temporary ORDER BY slot_name"
# Whoever builds holds an advisory lock in this very database for as long as he lives.
_LEFTOVERS = """
SELECT d.datname FROM pg_database d
 WHERE (d.datname ~ '^reference_[0-9a-f]{16}$' AND NOT EXISTS (
        SELECT FROM held WHERE key = hashtextextended(d.datname, %(references)s)))
    OR (d.datname ~ '^building_template_' AND NOT EXISTS (SELECT FROM held WHERE key = %(templates)s))
"""
_HELD = """
WITH held AS (
    SELECT (classid::bigint << 32) | objid::bigint AS key FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1
)
"""
# The oldest of its files cannot have been written before the schema was made.
_SCHEMAS = """
SELECT n.nspname,
       clock_timestamp() - (SELECT min((pg_stat_file(pg_relation_filepath(c.oid), true)).modification)
                              FROM pg_class c WHERE c.relnamespace = n.oid AND c.relkind = 'r')
  FROM pg_namespace n WHERE n.nspname = ANY (%s)
"""
_INDEXES = """
SELECT n.nspname, t.relname, i.relname
  FROM pg_index x
  JOIN pg_class i ON i.oid = x.indexrelid
  JOIN pg_class t ON t.oid = x.indrelid
  JOIN pg_namespace n ON n.oid = i.relnamespace
 WHERE NOT x.indisvalid AND i.relkind = 'i' AND NOT i.relispartition AND n.nspname ~ '^(public|t_[0-9a-f]{32})$'
   AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.relid = x.indrelid)
"""


_OF_A_FILE = re.compile(r"\(pg_stat_file\((?:[^()]|\([^()]*\))*\)\)\.modification")
"""Nobody but a superuser may look at files: without one, nothing is known of an age."""


@dataclass
class _Found:
    databases: list[SeenDatabase] = field(default_factory=list)
    roles: list[SeenRole] = field(default_factory=list)
    slots: list[SeenSlot] = field(default_factory=list)
    publications: list[SeenPublication] = field(default_factory=list)
    schemas: list[SeenSchema] = field(default_factory=list)
    fences: list[SeenFence] = field(default_factory=list)
    indexes: list[SeenIndex] = field(default_factory=list)
    worthless: set[tuple[str, str]] = field(default_factory=set)
    leftovers: set[tuple[str, str]] = field(default_factory=set)


def look(estate: Estate, known: Known, roll: Roll) -> Reality:
    """All servers and databases, several at once."""
    found = _Found()
    by_name = {server.name: server for server in roll.servers}
    with ThreadPoolExecutor(CONCURRENCY, thread_name_prefix="repair") as pool:
        list(pool.map(lambda server: _look_at_server(estate, server, known, found), roll.servers))
        there = {(each.server, each.name) for each in found.databases}
        homes = [
            each for each in roll.databases if each.home_revision is not None and (each.server, each.name) in there
        ]
        list(pool.map(lambda each: _look_at_home(estate.doors, by_name[each.server], each, known, found), homes))
    return Reality(
        databases=tuple(found.databases),
        roles=tuple(found.roles),
        slots=tuple(found.slots),
        publications=tuple(found.publications),
        schemas=tuple(found.schemas),
        fences=tuple(found.fences),
        indexes=tuple(found.indexes),
        worthless_templates=frozenset(found.worthless),
        leftovers=frozenset(found.leftovers),
    )


def _for(connection: Connection, query: str) -> bytes:
    return (query if is_superuser(connection) else _OF_A_FILE.sub("NULL::timestamptz", query)).encode()


def _look_at_server(estate: Estate, server: Server, known: Known, found: _Found) -> None:
    try:
        with look_into(estate.doors, server, _ADMIN_DATABASE) as connection:
            databases = connection.execute(_for(connection, _DATABASES)).fetchall()
            roles = connection.execute(_ROLES).fetchall()
            slots = connection.execute(_SLOTS).fetchall()
            locks = {"references": references.LOCKS, "templates": TEMPLATE_LOCK}
            leftovers = connection.execute((_HELD + _LEFTOVERS).encode(), locks).fetchall()
    except (psycopg.Error, NoDoorError):
        return
    worthless = set(estate.builder(server).older_templates(known.wanted))
    found.worthless |= {(server.name, name) for name, *_ in databases if name in worthless}
    found.leftovers |= {(server.name, name) for (name,) in leftovers}
    found.slots += [
        SeenSlot(server=server.name, name=name, database=database, active=active)
        for name, database, active in slots
        if OF_A_MOVE.fullmatch(name)
    ]
    found.roles += [
        SeenRole(server=server.name, name=name, owns=owns, sessions=sessions)
        for name, owns, sessions in roles
        if OF_A_LOGIN.fullmatch(name)
    ]
    found.databases += [_database(estate.doors, server, known, *row) for row in databases]


def _database(
    doors: Doors, server: Server, known: Known, name: str, age: timedelta | None, sessions: int, half_dropped: bool
) -> SeenDatabase:
    on_the_roll = known.database(server.name, name)
    counted = OF_A_HOME.fullmatch(name) and (on_the_roll is None or not known.lived_in(on_the_roll.id))
    inside = counting.contents(doors, server, name) if counted and not half_dropped else None
    # Nobody can enter what somebody has begun to drop, and nothing of it can be had back.
    inside = Contents(tenants=0, rows=0) if half_dropped else inside
    return SeenDatabase(server=server.name, name=name, age=age, sessions=sessions, contents=inside)


def _look_at_home(doors: Doors, server: Server, database: RollDatabase, known: Known, found: _Found) -> None:
    seen = look_at_home(doors, server, database, lint=False).seen
    if seen is None:
        return
    try:
        with look_into(doors, server, database.name) as connection:
            _look_inside(connection, database, seen, known, found)
    except (psycopg.Error, NoDoorError):
        return


def _look_inside(connection: Connection, database: RollDatabase, seen: HomeSeen, known: Known, found: _Found) -> None:
    place = {"server": database.server, "database": database.name}
    names = connection.execute("SELECT pubname FROM pg_publication ORDER BY pubname").fetchall()
    found.publications += [SeenPublication(**place, name=name) for (name,) in names if OF_A_MOVE.fullmatch(name)]
    found.indexes += [
        SeenIndex(**place, schema=schema, table=table, name=name)
        for schema, table, name in connection.execute(_INDEXES).fetchall()
    ]
    housed = {home.schema for home in known.homes if home.database_id == database.id}
    known_schemas = housed | database.targets.keys() | {SHARED_SCHEMA}
    strange = sorted(seen.targets.keys() - known_schemas - seen.foreign.keys())
    for schema, age in connection.execute(_for(connection, _SCHEMAS), [strange]).fetchall():
        inside = Contents(tenants=0, rows=counting.rows(connection, schemas=[schema]))
        found.schemas.append(SeenSchema(**place, name=schema, age=age, contents=inside))
    found.fences += _fences(connection, database, seen, known)


def _fences(connection: Connection, database: RollDatabase, seen: HomeSeen, known: Known) -> list[SeenFence]:
    homes = {home.tenant_id: home.schema for home in known.homes if home.database_id == database.id}
    wanting = homes.keys() - seen.fences.keys()
    strangers = seen.fences.keys() - homes.keys()
    counted: Mapping[UUID, int] = {
        tenant_id: counting.rows(connection, schemas=[homes.get(tenant_id, SHARED_SCHEMA)], tenant_id=tenant_id)
        for tenant_id in sorted(wanting | strangers, key=str)
    }
    return [
        SeenFence(
            server=database.server,
            database=database.name,
            database_id=database.id,
            tenant_id=tenant_id,
            fence=seen.fences.get(tenant_id),
            rows=counted.get(tenant_id, 0),
        )
        for tenant_id in sorted(homes.keys() | seen.fences.keys(), key=str)
    ]
