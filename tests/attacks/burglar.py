"""What somebody can do who has the app's own login and can run any SQL: the worst that an injection can become."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from control_plane.domain.route import Home
from control_plane.registry import servers
from control_plane.registry.engine import transaction
from control_plane.routing import tokens
from control_plane.routing.tokens import Mode, begin_message
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest

Connection = psycopg.Connection[Any]
STATEMENT_TIMEOUT_S = 15.0
NO_CONTEXT = "CH008"
BAD_TOKEN = "CH001"
DENIED = "42501"


class Door(enum.StrEnum):
    """The two ways to a server."""

    POOLER = "pooler"
    SERVER = "server"


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two tenants of one model; both have said something. The thief is who the injected SQL runs as."""

    thief: TenantUnderTest
    prey: TenantUnderTest
    secret: str
    """What the prey has said, and nobody else."""


def home_of(tenant: TenantUnderTest) -> Home:
    """The tenant's home."""
    home = tenant.route.home
    assert home is not None
    return home


def login_at(platform: PlatformUnderTest, home: Home, door: Door = Door.POOLER, **options: Any) -> Connection:
    """A connection as the app's login, in autocommit; use it as a context manager."""
    if door is Door.POOLER:
        options = {"port": platform.settings.pooler_port, "dbname": home.alias, **options}
    else:
        options = {"port": _server_port(platform, home), "dbname": home.database, **options}
    options = {"host": platform.settings.pooler_host, "user": home.login, "connect_timeout": 10, **options}
    return psycopg.connect(autocommit=True, prepare_threshold=None, **options)


def token_for(tenant: TenantUnderTest, *, life_s: int = 20, epoch: int | None = None, home: Home | None = None) -> str:
    """A genuine token of the road's own making."""
    route = tenant.route
    platform = tenant.platform
    return tokens.minted(platform.keyring, home or home_of(tenant), tenant.id, epoch or route.epoch, Mode.SERVE, life_s)


def enter(connection: Connection, tenant: TenantUnderTest, token: str | None = None) -> None:
    """Begin a visit as the road does, with its own message."""
    connection.execute(begin_message(token or token_for(tenant), home_of(tenant).schema, STATEMENT_TIMEOUT_S).encode())


@contextmanager
def visit(connection: Connection, tenant: TenantUnderTest) -> Iterator[Connection]:
    """A visit of that tenant; rolled back."""
    enter(connection, tenant)
    try:
        yield connection
    finally:
        if not connection.closed:
            connection.execute("ROLLBACK")


def ask(connection: Connection, query: str, *values: object) -> list[tuple[Any, ...]]:
    """All rows. Without values it goes as a simple query, which may hold several statements."""
    cursor = connection.execute(query.encode(), values or None)
    return cursor.fetchall() if cursor.description else []


def refusal(connection: Connection, statement: str, *values: object) -> str:
    """The SQLSTATE with which the statement is refused; fails when it is not."""
    with pytest.raises(psycopg.Error) as caught:
        ask(connection, statement, *values)
    return caught.value.sqlstate or f"none: {caught.value}"


def refusal_in_visit(connection: Connection, tenant: TenantUnderTest, statement: str, *values: object) -> str:
    """The same, inside a visit of its own."""
    with visit(connection, tenant):
        return refusal(connection, statement, *values)


def process_of(connection: Connection) -> int:
    """The server process that the connection is in now."""
    ((process,),) = ask(connection, "SELECT pg_backend_pid()")
    assert isinstance(process, int)
    return process


def leave(connection: Connection, pair: Pair, *statements: str, at_last: Sequence[str] = ()) -> int:
    """A visit of the thief that commits what it has done; the server process that it was in.

    What it does `at_last` comes after the commit, in the same message: a time-out, say, that is to end nothing of it.
    """
    enter(connection, pair.thief)
    for statement in statements:
        ask(connection, statement)
    process = process_of(connection)
    ask(connection, "; ".join(("COMMIT", *at_last)))
    return process


def subjects(connection: Connection) -> set[str]:
    """The conversations that are seen, by subject, without the one that every tenant begins with."""
    return {subject for (subject,) in ask(connection, "SELECT subject FROM conversations")} - {"Welcome"}


def _server_port(platform: PlatformUnderTest, home: Home) -> int:
    with transaction(platform.engine) as session:
        name = servers.database(session, home.database_id).server
        return servers.server_named(session, name).port
