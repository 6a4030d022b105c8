"""A tenant's fence as a move sets it, on the mover's own connections: nobody is waited for longer than is told."""

from __future__ import annotations

from contextlib import suppress
from uuid import UUID

import psycopg

from provisioning.roles import Connection

OPEN, READY, FROZEN, CLOSED = "open", "ready", "frozen", "closed"
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"
_FREEZE = """
UPDATE tenancy.fences SET state = 'frozen', changed_at = now() WHERE tenant_id = %s AND epoch = %s AND state = 'open'
"""
_THAW = """
UPDATE tenancy.fences SET state = 'open', changed_at = now() WHERE tenant_id = %s AND epoch = %s AND state = 'frozen'
"""
_PUT = """
INSERT INTO tenancy.fences (tenant_id, epoch, state) VALUES (%s, %s, %s)
    ON CONFLICT (tenant_id) DO UPDATE SET epoch = excluded.epoch, state = excluded.state, changed_at = now()
"""
_SHUT = "UPDATE tenancy.fences SET state = 'closed', changed_at = now() WHERE tenant_id = %s AND state <> 'closed'"
# Every transaction that is inside holds the lock of its tenant, shared.
_INSIDE = """
SELECT a.pid, a.usename, coalesce(a.state, 'active'), extract(epoch FROM clock_timestamp() - a.xact_start)::float
  FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
 WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND (l.classid::bigint << 32) | l.objid::bigint = hashtextextended(%s, 0)
 ORDER BY a.xact_start
"""


def freeze(connection: Connection, tenant_id: UUID, epoch: int, within_ms: int) -> bool:
    """Keep out whoever comes from now on, once all who are inside have left; False when they do not within that time.

    While it waits so does whoever wants in. psycopg.errors.NoDataFound when the fence is not open at that epoch.
    """
    with suppress(psycopg.errors.LockNotAvailable):
        with connection.transaction():
            connection.execute(f"SET LOCAL lock_timeout = {within_ms}")
            connection.execute(_LOCK, [str(tenant_id)])
            if connection.execute(_FREEZE, [tenant_id, epoch]).rowcount != 1:
                raise psycopg.errors.NoDataFound("the fence is not open")
        return True
    return False


def thaw(connection: Connection, tenant_id: UUID, epoch: int) -> None:
    """Let in again whoever `freeze` keeps out; any other state stays."""
    connection.execute(_THAW, [tenant_id, epoch])


def put(connection: Connection, tenant_id: UUID, epoch: int, state: str) -> None:
    """Have the fence of that epoch and state, whatever was there."""
    connection.execute(_PUT, [tenant_id, epoch, state])


def shut(connection: Connection, tenant_id: UUID) -> None:
    """Have the home refuse the tenant; without a fence it does anyway."""
    connection.execute(_SHUT, [tenant_id])


def who_is_inside(admin: Connection, tenant_id: UUID) -> str:
    """The tenant's transactions there, the oldest first, for a person; `admin` may see other roles' sessions."""
    rows = admin.execute(_INSIDE, [str(tenant_id)]).fetchall()
    named = [f"process {pid} of {login}, {state}, for {age or 0:.1f} s" for pid, login, state, age in rows]
    return "; ".join(named) or "a transaction that has just ended"
