"""What keeps a server from sending a stream, or the mover from working in it: known before anything is begun."""

from __future__ import annotations

from collections.abc import Iterator

from provisioning.roles import OWNER, Connection

_FACTS = """
SELECT current_setting('wal_level'),
       current_setting('max_replication_slots')::int - (SELECT count(*) FROM pg_replication_slots),
       current_setting('max_wal_senders')::int - (SELECT count(*) FROM pg_stat_get_wal_senders() WHERE pid IS NOT NULL),
       rolsuper OR rolreplication, rolsuper OR rolbypassrls, has_database_privilege(current_database(), 'CREATE'),
       rolsuper OR EXISTS (SELECT FROM pg_roles r WHERE r.rolname = %s AND pg_has_role(r.oid, 'USAGE')), rolname
  FROM pg_roles WHERE rolname = current_user
"""


def obstacles(connection: Connection) -> list[str]:
    """Each in words, for a person; none when a stream of the database can begin. psycopg.Error.

    To be asked at both ends: changes flow back from the new home for a while.
    """
    (facts,) = connection.execute(_FACTS, [OWNER]).fetchall()
    return list(_obstacles(*facts))


def _obstacles(
    level: str, slots: int, senders: int, replicates: bool, bypasses: bool, creates: bool, owns: bool, role: str
) -> Iterator[str]:
    if level != "logical":
        yield f"wal_level is {level}: set it to logical and restart the server"
    if slots < 1:
        yield "no replication slot is free: raise max_replication_slots"
    if senders < 1:
        yield "no process that sends streams is free: raise max_wal_senders"
    if not replicates:
        yield f"{role} may not read streams: ALTER ROLE {role} REPLICATION"
    if not bypasses:
        yield f"{role} does not see all rows: ALTER ROLE {role} BYPASSRLS"
    if not creates:
        yield f"{role} may not make publications: GRANT CREATE ON DATABASE to {OWNER}"
    if not owns:
        yield f"{role} does not own the tables: GRANT {OWNER} TO {role}"
