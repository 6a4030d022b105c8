"""Looks past the app: what a login without a context sees, what the owner of the tables sees, what can be written."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import Insert, Table, insert
from sqlalchemy.exc import DBAPIError

from control_plane.domain.errors import CopyholdError
from control_plane.domain.ids import new_id
from tenant_app.tables import Base
from tests.isolation.doors import Ask, Inside
from tests.isolation.operations import Credential
from tests.isolation.positions import Things
from tests.isolation.world import TABLES, World

NO_CONTEXT = "CH008"
OWNER = "copyhold_owner"


def seen_without_context(world: World) -> list[str]:
    """Tables that do not refuse the app's login before it has entered, each with how many rows it showed."""
    home = world.tenant.route.home
    assert home is not None
    settings = world.tenant.platform.settings
    with psycopg.connect(
        host=settings.pooler_host,
        port=settings.pooler_port,
        dbname=home.alias,
        user=home.login,
        autocommit=True,
        prepare_threshold=None,
    ) as connection:
        return list(_seen(connection, home.schema))


def seen_by_owner(world: World) -> list[str]:
    """Tables that show the role that owns them any row."""
    home = world.tenant.route.home
    assert home is not None
    world.home.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(OWNER)))
    try:
        return [found for found in _seen(world.home, home.schema) if not found.endswith(" 0 rows")]
    finally:
        world.home.execute("RESET ROLE")


def _seen(connection: psycopg.Connection[Any], schema: str) -> Iterator[str]:
    for table in TABLES:
        count = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(schema, table))
        try:
            row = connection.execute(count).fetchone()
        except psycopg.Error as error:
            if error.sqlstate != NO_CONTEXT:
                yield f"{table}: {error.sqlstate}"
        else:
            assert row is not None
            yield f"{table}: {row[0]} rows"


def written_for(door: Inside, me: World, theirs: Things) -> list[str]:
    """Tables into which a session of mine can write rows of theirs, whatever the ORM would have said."""
    accepted = []
    for statement in _rows_of(theirs):
        try:
            with door.session(me.id) as session:
                door.run(session, statement)
        except (DBAPIError, CopyholdError):
            continue
        accepted.append(statement.table.name)
    return accepted


def _rows_of(theirs: Things) -> Iterator[Insert]:
    soon = datetime.now(UTC) + timedelta(hours=1)
    values: dict[str, dict[str, object]] = {
        "users": {"name": "N", "role": "member", "kind": "service"},
        "sessions": {"user_id": theirs.user, "expires_at": soon},
        "conversations": {"subject": "S", "created_by": theirs.holder},
        "messages": {"conversation_id": theirs.conversation, "author_id": theirs.holder, "body": "B"},
    }
    tables: dict[str, Table] = dict(Base.metadata.tables)
    assert values.keys() == tables.keys(), "a tenant table that this does not try to write"
    for name, row in values.items():
        yield insert(tables[name]).values(tenant_id=theirs.tenant, id=new_id(), **row)


def first_visit(door: Inside, world: World) -> int:
    """Status of the first request that a new process is asked for that home."""
    me = world.caller("owner", Credential.KEY)
    return door.send(Ask(method="GET", path="/api/me", host=world.host, headers=me.headers)).status
