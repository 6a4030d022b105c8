"""The two ends of a move, and the connections that it needs there. All are direct and of the mover's role."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from provisioning.moves.errors import at_source, at_target
from provisioning.moves.listening import Listening
from provisioning.moves.lsn import Lsn, parse_lsn
from provisioning.roles import Connection
from provisioning.sessions import end_others

LOCK_TIMEOUT_S = 5
SENDER_TIMEOUT_S = 60
"""So long after the mover's last word the source takes it for dead."""
# Values have to read the same on both ends whatever is set there, and no name may lead into a tenant's schema.
SETTINGS = {
    "search_path": "pg_catalog",
    "datestyle": "ISO",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "lc_monetary": "C",
    "xmloption": "content",
    "lock_timeout": f"{LOCK_TIMEOUT_S}s",
    # A move is long, and quiet at times: a session that is ended takes its snapshot and its slot with it.
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    # One processor is enough for what nobody waits for.
    "max_parallel_workers_per_gather": "0",
    "wal_sender_timeout": f"{SENDER_TIMEOUT_S}s",
}

_LOG_END = "SELECT pg_current_wal_insert_lsn()::text"


@dataclass(frozen=True, kw_only=True)
class Place:
    """One end of a move: a database, and the schema in it where the tenant's tables are."""

    dsn: str = field(repr=False)
    """Past the pooler, as the mover; it may hold a password."""
    schema: str
    name: str
    """Of the sessions there: see `sessions.of_move`."""

    def connect(self) -> Listening:
        """A connection in autocommit, with the settings that a move needs; psycopg.Error when it cannot be had."""
        return Listening.connect(self._conninfo(), autocommit=True, prepare_threshold=None)

    def replicate(self) -> Connection:
        """The same, for a stream of changes."""
        return psycopg.connect(self._conninfo(), autocommit=True, prepare_threshold=None, replication="database")

    def _conninfo(self) -> str:
        told = str(conninfo_to_dict(self.dsn).get("options") or "")
        options = " ".join([told, *(f"-c {name}={value}" for name, value in SETTINGS.items())]).strip()
        return make_conninfo(self.dsn, options=options, client_encoding="UTF8", application_name=self.name)


@contextmanager
def source_of(place: Place) -> Iterator[Listening]:
    """A connection to the end that is left; SourceGoneError when it cannot be had."""
    with at_source():
        connection = place.connect()
    with closed_at_the_end(connection):
        yield connection


@contextmanager
def target_of(place: Place) -> Iterator[Listening]:
    """A connection to the end that is moved into; TargetGoneError when it cannot be had."""
    with at_target():
        connection = place.connect()
    with closed_at_the_end(connection):
        yield connection


@contextmanager
def source_alone(place: Place) -> Iterator[Connection]:
    """That of `source_of`, for whoever holds the tenant's lock, and has no other session open at that server.

    What those before have sent is over, whether or not they live: it can be written after them. As `end_others`.
    """
    with source_of(place) as connection:
        with at_source(connection):
            end_others(connection)
        yield connection


@contextmanager
def target_alone(place: Place) -> Iterator[Connection]:
    """The same of `target_of`."""
    with target_of(place) as connection:
        with at_target(connection):
            end_others(connection)
        yield connection


@contextmanager
def closed_at_the_end(connection: Connection) -> Iterator[None]:
    """Close it, whatever it is in the middle of. Unlike psycopg's own block this commits nothing."""
    try:
        yield
    finally:
        with suppress(psycopg.Error):
            connection.close()


def freeze_view(connection: Connection) -> Lsn:
    """Have the connection see from now on what is committed now and nothing later, until `connection.rollback()`.

    Returns `log_end`: all that it sees stands before it in the server's log.
    """
    frozen = connection.execute(f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {_LOG_END}").set_result(-1)
    ((end,),) = frozen.fetchall()
    return parse_lsn(end)


def log_end(connection: Connection) -> Lsn:
    """How far the server's log has come: all that is committed by now stands before it."""
    ((end,),) = connection.execute(_LOG_END).fetchall()
    return parse_lsn(end)
