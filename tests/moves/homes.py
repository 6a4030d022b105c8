"""Homes to move between, in all three models, with tables that hold whatever PostgreSQL can."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql
from sqlalchemy import Column, MetaData, Table, Uuid

from control_plane.domain.names import SHARED_SCHEMA, bridge_schema
from control_plane.domain.server import Server
from control_plane.domain.tenant import Model
from control_plane.doors import SOCKETS
from control_plane.registry.fleet import Revisions
from migrations.fleet.chains import HOME, Chain
from provisioning.databases import Builder
from provisioning.moves.places import Place
from provisioning.roles import MOVER, SUPERUSER
from provisioning.sessions import of_move
from tests.fleet.writing import chain, execute

THINGS = """
CREATE TABLE things (
    tenant_id uuid NOT NULL, id uuid NOT NULL, name text, doc jsonb, tags text[], raw bytea, ratio double precision,
    amount numeric(12, 2), at timestamptz, gap interval, day date, yes boolean, big text, "Odd ""name" text,
    shout text GENERATED ALWAYS AS (upper(name)) STORED, number bigint GENERATED ALWAYS AS IDENTITY,
    PRIMARY KEY (tenant_id, id)
)
"""
PARTS = """
CREATE TABLE parts (
    tenant_id uuid NOT NULL, id uuid NOT NULL, thing_id uuid, parent_id uuid, note text, serial bigserial,
    PRIMARY KEY (id, tenant_id), FOREIGN KEY (tenant_id, thing_id) REFERENCES things (tenant_id, id),
    FOREIGN KEY (parent_id, tenant_id) REFERENCES parts (id, tenant_id)
)
"""
FEELINGS = """
CREATE TABLE feelings (
    tenant_id uuid NOT NULL, id uuid NOT NULL, mood mood, moods mood[], whole text NOT NULL, PRIMARY KEY (tenant_id, id)
)
"""
EVENTS = "CREATE TABLE events (tenant_id uuid NOT NULL, id uuid NOT NULL, at date NOT NULL, what text,"
PARTITIONS = (
    EVENTS + " PRIMARY KEY (tenant_id, id, at)) PARTITION BY RANGE (at)",
    "CREATE TABLE events_old PARTITION OF events FOR VALUES FROM (MINVALUE) TO ('2026-01-01')",
    "CREATE TABLE events_new PARTITION OF events FOR VALUES FROM ('2026-01-01') TO (MAXVALUE)",
)
NAMES = ("things", "parts", "feelings", "events")
REVISION = execute(
    "CREATE TYPE mood AS ENUM ('sad', 'glad')",
    THINGS,
    "ALTER TABLE things ALTER COLUMN big SET STORAGE EXTERNAL",
    PARTS,
    FEELINGS,
    "ALTER TABLE feelings REPLICA IDENTITY FULL",
    *PARTITIONS,
    *(f"SELECT tenancy.protect('{name}')" for name in (*NAMES, "events_old", "events_new")),
)
FENCE = "INSERT INTO tenancy.fences (tenant_id, epoch, state) VALUES (%s, 1, 'open')"
_numbers = itertools.count(1)


@cache
def things_chain(folder: Path) -> Chain:
    """A tenant app's chain with all sorts of tables."""
    return chain(folder, REVISION)


def metadata(*names: str) -> MetaData:
    """As an app's metadata tells of its tables; of THINGS unless told."""
    told = MetaData()
    for name in names or NAMES:
        Table(name, told, Column("tenant_id", Uuid))
    return told


@dataclass(frozen=True, kw_only=True)
class Home:
    """A tenant's place in one database."""

    server: Server
    database: str
    model: Model
    schema: str
    tenant_id: UUID

    @property
    def place(self) -> Place:
        """As a move reaches it."""
        dsn = SOCKETS.dsn(self.server, self.database, MOVER)
        return Place(dsn=dsn, schema=self.schema, name=of_move(self.tenant_id))

    @contextmanager
    def superuser(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection in autocommit that finds the tenant's tables; row-level security does not hold it."""
        dsn = SOCKETS.dsn(self.server, self.database, SUPERUSER)
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(self.schema)))
            yield connection

    def do(self, *statements: str, **values: Any) -> None:
        """All in one transaction, as the superuser. Values are named `%(name)s`."""
        with self.superuser() as connection, connection.transaction():
            for statement in statements:
                connection.execute(statement.encode(), values)

    def ask(self, query: str, **values: Any) -> list[tuple[Any, ...]]:
        """The rows that come back."""
        with self.superuser() as connection:
            return connection.execute(query.encode(), values).fetchall()

    def rows(self, tenant_id: UUID, tables: tuple[str, ...] = NAMES) -> dict[str, list[Any]]:
        """By table, every row of the tenant as JSON."""
        query = 'SELECT to_jsonb(t) FROM {} AS t WHERE tenant_id = %(id)s ORDER BY to_jsonb(t)::text COLLATE "C"'
        return {table: [row for (row,) in self.ask(query.format(table), id=tenant_id)] for table in tables}


def new_home(server: Server, model: Model, tenant_id: UUID, tenant_chain: Chain) -> Home:
    """An empty home in a database of its own, with a fence."""
    database, revisions = f"{model}_{next(_numbers)}", Revisions(home=HOME.head, tenant=tenant_chain.head)
    builder = Builder(server=server, tenant_chain=tenant_chain, doors=SOCKETS)
    schema = bridge_schema(tenant_id) if model is Model.BRIDGE else SHARED_SCHEMA
    if model is not Model.BRIDGE:
        builder.copy_silo(database, revisions)
    else:
        builder.build_shared(database, revisions, with_tables=False)
        builder.build_schema(database, schema, revisions.tenant)
    home = Home(server=server, database=database, model=model, schema=schema, tenant_id=tenant_id)
    with home.superuser() as connection:
        connection.execute(FENCE, [tenant_id])
    return home
