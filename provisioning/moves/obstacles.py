"""What keeps a server from sending a stream, or the mover from working in it: known before anything is begun."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import NamedTuple

from provisioning.roles import MOVER, OWNER, Connection

_OF_SERVER = """
SELECT current_setting('wal_level'),
       current_setting('max_replication_slots')::int, (SELECT count(*) FROM pg_replication_slots),
       current_setting('max_wal_senders')::int,
       (SELECT count(*) FROM pg_stat_get_wal_senders() WHERE pid IS NOT NULL),
       rolsuper OR rolreplication, rolsuper OR rolbypassrls,
       rolsuper OR EXISTS (SELECT FROM pg_roles r WHERE r.rolname = %s AND pg_has_role(m.oid, r.oid, 'USAGE')), rolname
  FROM pg_roles m WHERE rolname = %s
"""
_MAY_PUBLISH = "SELECT has_database_privilege(current_database(), 'CREATE')"
_MAY_END = "SELECT has_function_privilege('pg_terminate_backend(integer, bigint)', 'EXECUTE')"


class Kind(enum.StrEnum):
    """How much an obstacle stands in the way of."""

    SETUP = "setup"
    """As the server is set up it never sends a stream: rows can be copied, changes not followed."""
    NOW = "now"
    """No stream can begin before somebody does something small, or has ended something."""
    ROWS = "rows"
    """Rows cannot be copied either."""


class Obstacle(NamedTuple):
    """Something in the way, in words for a person, with what to do."""

    words: str
    kind: Kind


def obstacles(connection: Connection) -> list[Obstacle]:
    """All of them, at the mover's connection to the database; none when a stream of it can begin. psycopg.Error.

    To be asked at both ends: changes flow back from the new home for a while.
    """
    ((role,),) = connection.execute("SELECT current_user").fetchall()
    ((publishes,),) = connection.execute(_MAY_PUBLISH).fetchall()
    ((ends,),) = connection.execute(_MAY_END).fetchall()
    found = server_obstacles(connection, role)
    if not publishes:
        found.append(Obstacle(f"{role} may not make publications: GRANT CREATE ON DATABASE to {OWNER}", Kind.NOW))
    if not ends:
        grant = "GRANT EXECUTE ON FUNCTION pg_terminate_backend"
        found.append(Obstacle(f"{role} may not end its own sessions: {grant} to {role}", Kind.ROWS))
    return found


def server_obstacles(connection: Connection, role: str = MOVER) -> list[Obstacle]:
    """Those of the server alone, whoever asks and in whatever database; without the role nothing is streamed."""
    facts = connection.execute(_OF_SERVER, [OWNER, role]).fetchone()
    return list(_of_server(*facts)) if facts is not None else [Obstacle(f"there is no role {role}", Kind.ROWS)]


def _of_server(
    level: str,
    slots: int,
    slots_taken: int,
    senders: int,
    senders_taken: int,
    replicates: bool,
    bypasses: bool,
    owns: bool,
    role: str,
) -> Iterator[Obstacle]:
    if level != "logical":
        yield Obstacle(f"wal_level is {level}: set it to logical and restart the server", Kind.SETUP)
    if slots <= slots_taken:
        yield Obstacle("no replication slot is free: raise max_replication_slots", Kind.NOW if slots else Kind.SETUP)
    if senders <= senders_taken:
        how = Kind.NOW if senders else Kind.SETUP
        yield Obstacle("no process that sends streams is free: raise max_wal_senders", how)
    if not replicates:
        yield Obstacle(f"{role} may not read streams: ALTER ROLE {role} REPLICATION", Kind.SETUP)
    if not bypasses:
        yield Obstacle(f"{role} does not see all rows: ALTER ROLE {role} BYPASSRLS", Kind.ROWS)
    if not owns:
        yield Obstacle(f"{role} does not own the tables: GRANT {OWNER} TO {role}", Kind.ROWS)
