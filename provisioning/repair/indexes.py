"""Invalid indexes: built again where the target's revision has them, dropped where it has not."""

from __future__ import annotations

from psycopg import sql

from control_plane.domain.ids import new_id
from control_plane.domain.server import Server
from control_plane.registry import fleet
from control_plane.registry.fleet import Revisions
from migrations.fleet.shapes import Part
from provisioning.estate import Estate
from provisioning.roles import Connection

LOCK_TIMEOUT_S = 60
"""Of what runs CONCURRENTLY: it waits for older transactions, and nobody waits for it."""
_INVALID = """
SELECT t.relname, EXISTS (SELECT FROM pg_constraint WHERE conindid = x.indexrelid)
  FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
  JOIN pg_namespace n ON n.oid = i.relnamespace
 WHERE NOT x.indisvalid AND n.nspname = %s AND i.relname = %s
"""


def mend(estate: Estate, server: Server, database: str, name: str, revisions: Revisions | None) -> None:
    """Mend the index of that name (schema.index), a target's of those revisions; one that is valid stays as it is.

    FleetBusyError while a run over the fleet goes on: it may be building that very index. NoReferenceError when it
    cannot be told what the revision has.
    """
    schema, _, index = name.partition(".")
    with fleet.holding_fleet(estate.engine, new_id()), estate.builder(server).admin(database) as admin:
        found = admin.execute(_INVALID, [schema, index]).fetchone()
        if found is None:
            return
        table, of_a_constraint = found
        belongs = of_a_constraint or _belongs(estate, server, Part("index", table, index), revisions)
        _mend(admin, sql.Identifier(schema, index), belongs=belongs)


def _belongs(estate: Estate, server: Server, part: Part, revisions: Revisions | None) -> bool:
    if revisions is None:
        return False
    return part in estate.references.at(server, estate.chain.name, revisions).parts


def _mend(admin: Connection, index: sql.Identifier, *, belongs: bool) -> None:
    admin.execute(f"SET lock_timeout = '{LOCK_TIMEOUT_S}s'".encode())
    verb = "REINDEX INDEX CONCURRENTLY {}" if belongs else "DROP INDEX CONCURRENTLY IF EXISTS {}"
    admin.execute(sql.SQL(verb).format(index))
