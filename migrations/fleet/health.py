"""How the fleet is between two waves: is somebody kept waiting, are tenants that were just migrated served."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import psycopg

from control_plane.domain.server import Server
from control_plane.doors import Doors, NoDoorError
from migrations.fleet.plan import Target
from migrations.fleet.words import in_words

MIGRATOR = "copyhold_migrator"
WAITING_S = 1
# Of all databases of the server. The view pg_locks is taken from everybody in homes, its function is the migrator's.
WAITING = f"""
SELECT count(*) FROM pg_catalog.pg_lock_status()
 WHERE NOT granted AND waitstart < clock_timestamp() - interval '{WAITING_S} s'
"""  # noqa: S608 - a number of ours


def problems(doors: Doors, servers: Mapping[str, Server], targets: Iterable[Target]) -> list[str]:
    """What is wrong on the servers of those targets, in words; one connection a server."""
    one_each = {target.server: target for target in targets}
    return [said for name, target in one_each.items() if (said := _of(doors, servers[name], target)) is not None]


def _of(doors: Doors, server: Server, target: Target) -> str | None:
    try:
        with psycopg.connect(doors.dsn(server, target.database, MIGRATOR), autocommit=True) as connection:
            row = connection.execute(WAITING.encode()).fetchone()
    except (psycopg.Error, NoDoorError) as error:
        return f"{server.name} does not answer: {in_words(error)}"
    waiting = row[0] if row else 0
    return f"{waiting} have waited for a lock on {server.name} for more than {WAITING_S} s" if waiting else None
