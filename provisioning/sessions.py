"""Ending what somebody who was killed has sent to a server: it may still wait there for a lock, and would come late.

Sessions that work on one thing have one name, and whoever goes on with it ends the others of that name first.
"""

from __future__ import annotations

from uuid import UUID

import psycopg
from psycopg.conninfo import make_conninfo

from control_plane.domain.errors import ConflictError, UnavailableError
from provisioning.roles import Connection

ENDED_WITHIN_MS = 5_000
# In whatever database of the server; the view is taken from everybody.
_OTHERS = """
  FROM pg_stat_get_activity(NULL)
 WHERE application_name = current_setting('application_name') AND usesysid = session_user::regrole
   AND pid <> pg_backend_pid()
"""
_END_OTHERS = f"SELECT pg_terminate_backend(pid, %s) {_OTHERS}"
_WHO_IS_LEFT = f"SELECT pid {_OTHERS}"


class StillThereError(UnavailableError):
    """A session of whoever worked on this before does not end."""

    code = "session_still_there"


class MayNotEndError(ConflictError):
    """The role may not end its own sessions there: GRANT EXECUTE ON FUNCTION pg_terminate_backend to it."""

    code = "session_may_not_end"


def of_move(tenant_id: UUID) -> str:
    """The name of every session that works on that tenant's moves, whenever; nobody else's has it."""
    return f"copyhold move {tenant_id.hex}"


def of_schema(dsn: str, schema: str) -> str:
    """The connection string for who makes or drops that schema: its sessions have a name of their own."""
    return make_conninfo(dsn, application_name=f"copyhold {schema}")


def end_others(connection: Connection) -> None:
    """End all sessions on that server which have the connection's name and role, and wait until they are gone.

    StillThereError, MayNotEndError; psycopg.Error.
    """
    try:
        connection.execute(_END_OTHERS, [ENDED_WITHIN_MS])
        left = connection.execute(_WHO_IS_LEFT).fetchall()
    except psycopg.errors.InsufficientPrivilege as error:
        raise MayNotEndError from error
    if left:
        processes = ", ".join(str(pid) for (pid,) in left)
        raise StillThereError(f"{StillThereError().message[:-1]} (process {processes})")
