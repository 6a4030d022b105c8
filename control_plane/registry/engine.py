"""Connections to the control database: few, short, and with time-outs, so that a dead one cannot hold a process up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import URL, ClauseElement, Compiled, Connection, Dialect, Engine, create_engine, func, select
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError, TimeoutError
from sqlalchemy.orm import Session

from control_plane.domain.errors import UnavailableError


class ControlDatabaseError(UnavailableError):
    """The control database does not answer; known tenants are still served."""

    code = "control_database_down"


def sqlalchemy_url(dsn: str) -> URL:
    """A libpq connection string as SQLAlchemy wants it; socket folders included."""
    parts = {name: str(value) for name, value in conninfo_to_dict(dsn).items() if value is not None}
    return URL.create(
        "postgresql+psycopg",
        username=parts.pop("user", None),
        password=parts.pop("password", None),
        database=parts.pop("dbname", None),
        query=parts,
    )


def control_engine(dsn: str, *, timeout_s: float, pool_size: int = 5) -> Engine:
    """An engine whose connecting, waiting and every statement end after `timeout_s` seconds."""
    return create_engine(
        sqlalchemy_url(dsn),
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=timeout_s,
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args={
            "connect_timeout": max(2, int(timeout_s)),
            "options": f"-c statement_timeout={int(timeout_s * 1000)} -c idle_in_transaction_session_timeout=60000",
            "application_name": "copyhold",
            # One that is cut off without a word is noticed as soon; over a unix socket none of this matters.
            "keepalives_idle": max(1, int(timeout_s)),
            "keepalives_interval": 1,
            "keepalives_count": 3,
            "tcp_user_timeout": int(timeout_s * 1000),
        },
    )


@contextmanager
def transaction(engine: Engine) -> Iterator[Session]:
    """One transaction on the control database: committed at the end of the block, rolled back by any error."""
    with explained(), Session(engine, expire_on_commit=False) as session, session.begin():
        yield session


@contextmanager
def session_of_its_own(engine: Engine) -> Iterator[Connection]:
    """A database session that ends with the block, and with it every advisory lock it holds; no transaction."""
    with explained():
        connection = engine.connect()
    with connection.execution_options(isolation_level="AUTOCOMMIT"):
        connection.detach()
        try:
            yield connection
        finally:
            # The server notices a session's end a moment later, and whoever comes next would find its locks still held.
            with suppress(SQLAlchemyError):
                connection.execute(select(func.pg_advisory_unlock_all()))


@contextmanager
def explained() -> Iterator[None]:
    """What a driver says of a database that does not answer, as ControlDatabaseError."""
    try:
        yield
    except (OperationalError, TimeoutError) as error:  # the latter: no free connection in the pool for too long
        raise ControlDatabaseError from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise ControlDatabaseError from error
        raise


class Together:
    """Statements that are sent as one message: a round trip for all of them, each compiled once a process.

    For what somebody waits for. Each sees what was committed when its turn came.
    """

    def __init__(self, *statements: ClauseElement) -> None:
        self._statements = statements

    def send(self, connection: Connection, **given: object) -> list[Sequence[Any]]:
        """The rows that each brought; `given` are the values of their `bindparam`s, and none may be missing.

        A list (IN) is not possible.

        In the transaction that they begin themselves, on a connection that begins none (AUTOCOMMIT): that would be
        another round trip. ControlDatabaseError, psycopg.Error.
        """
        with explained_by_hand():
            driver = driver_of(connection)
            with driver.pipeline():
                sent = [driver.execute(text, each.construct_params(given)) for text, each in self._compiled]
            return [cursor.fetchall() if cursor.description else [] for cursor in sent]

    @cached_property
    def _compiled(self) -> list[tuple[bytes, Compiled]]:
        dialect: Dialect = PGDialect_psycopg()  # type: ignore[no-untyped-call]
        compiled = [each.compile(dialect=dialect) for each in self._statements]
        return [(str(each).encode(), each) for each in compiled]


def driver_of(connection: Connection) -> psycopg.Connection[Any]:
    """The driver's own connection under it; ControlDatabaseError when it is known to be lost."""
    driver = connection.connection.dbapi_connection
    assert isinstance(driver, psycopg.Connection)
    if driver.closed:
        raise ControlDatabaseError
    return driver


@contextmanager
def explained_by_hand() -> Iterator[None]:
    """As `explained`, of what the driver is asked without SQLAlchemy."""
    try:
        yield
    except psycopg.OperationalError as error:
        raise ControlDatabaseError from error
