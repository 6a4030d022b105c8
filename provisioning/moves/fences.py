"""A tenant's fence as a move sets it, on the mover's own connections: nobody is waited for longer than is told."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import psycopg
from psycopg import sql

from provisioning.roles import Connection

OPEN, READY, FROZEN, SUSPENDED, CLOSED = "open", "ready", "frozen", "suspended", "closed"
# One message, and so one transaction and one round trip: whoever wants in waits from its beginning on.
_FREEZE = sql.SQL(
    """
SET LOCAL lock_timeout = {within_ms};
SELECT pg_advisory_xact_lock(hashtextextended({name}, 0));
UPDATE tenancy.fences SET state = {state}, changed_at = now()
 WHERE tenant_id = {tenant} AND epoch = {epoch} AND (state = 'open' OR state = 'suspended' AND {state} = state)
RETURNING changed_at
"""
)
_THAW = """
UPDATE tenancy.fences SET state = 'open', changed_at = now()
 WHERE tenant_id = %(tenant)s AND epoch = %(epoch)s AND state = 'frozen'
   AND (%(since)s::timestamptz IS NULL OR changed_at = %(since)s)
"""
_PUT = """
INSERT INTO tenancy.fences (tenant_id, epoch, state) VALUES (%s, %s, %s)
    ON CONFLICT (tenant_id) DO UPDATE SET epoch = excluded.epoch, state = excluded.state, changed_at = now()
 WHERE fences.epoch < excluded.epoch
    OR fences.epoch = excluded.epoch AND fences.state <> ALL (%s)
"""
_SHUT = """
UPDATE tenancy.fences SET state = 'closed', changed_at = now()
 WHERE tenant_id = %s AND epoch <= %s AND state <> 'closed'
"""
_DROP = "DELETE FROM tenancy.fences WHERE tenant_id = %s"
# Every transaction that is inside holds the lock of its tenant, shared.
_INSIDE = """
SELECT a.pid, a.usename, coalesce(a.state, 'active'), extract(epoch FROM clock_timestamp() - a.xact_start)::float
  FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
 WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND (l.classid::bigint << 32) | l.objid::bigint = hashtextextended(%s, 0)
 ORDER BY a.xact_start
"""


def freeze(connection: Connection, tenant_id: UUID, epoch: int, within_ms: int, state: str = FROZEN) -> datetime | None:
    """Keep out whoever comes from now on, once all who are inside have left; None when they do not within that time.

    What is returned tells this freeze from any other, for `thaw`. `state` is SUSPENDED for whoever is not to be let in
    again: that nobody thaws.

    While it waits so does whoever wants in. psycopg.errors.NoDataFound when the fence is not open at that epoch.
    """
    told = {"within_ms": within_ms, "name": str(tenant_id), "state": state, "tenant": tenant_id, "epoch": epoch}
    freeze = _FREEZE.format(**{name: sql.Literal(value) for name, value in told.items()})
    try:
        row = connection.execute(freeze).set_result(-1).fetchone()
    except psycopg.errors.LockNotAvailable:
        return None
    if row is None:
        raise psycopg.errors.NoDataFound("the fence is not open")
    since: datetime = row[0]
    return since


def thaw(connection: Connection, tenant_id: UUID, epoch: int, since: datetime | None = None) -> None:
    """Let in again whoever `freeze` keeps out; any other state stays, and any freeze but that of `since`, if told."""
    connection.execute(_THAW, {"tenant": tenant_id, "epoch": epoch, "since": since})


def put(connection: Connection, tenant_id: UUID, epoch: int, state: str) -> None:
    """Have the fence of that epoch and state, whatever was there before.

    What comes late, from whoever does not hold the tenant's lock any more, changes nothing: psycopg.errors.NoDataFound
    when the fence is of a later epoch, or at that epoch is past that state: open, or closed again, or suspended.
    """
    past = [CLOSED, SUSPENDED] if state == OPEN else [OPEN]
    if connection.execute(_PUT, [tenant_id, epoch, state, past]).rowcount != 1:
        raise psycopg.errors.NoDataFound("the fence is past that")


def shut(connection: Connection, tenant_id: UUID, epoch: int) -> None:
    """Have the home refuse the tenant at that epoch and all before; without a fence it does anyway."""
    connection.execute(_SHUT, [tenant_id, epoch])


def drop(connection: Connection, tenant_id: UUID) -> None:
    """Take the fence away: without one nobody enters."""
    connection.execute(_DROP, [tenant_id])


def who_is_inside(admin: Connection, tenant_id: UUID) -> str:
    """The tenant's transactions there, the oldest first, for a person; `admin` may see other roles' sessions."""
    rows = admin.execute(_INSIDE, [str(tenant_id)]).fetchall()
    named = [f"process {pid} of {login}, {state}, for {age or 0:.1f} s" for pid, login, state, age in rows]
    return "; ".join(named) or "a transaction that has just ended"
