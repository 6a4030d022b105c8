"""How far each stream has been applied, kept in the target itself: `tenancy.streams`."""

from __future__ import annotations

from provisioning.moves.lsn import Lsn, lsn_text, parse_lsn
from provisioning.roles import Connection


def begin(target: Connection, name: str, start: Lsn) -> None:
    """Record that of the stream of that name everything up to `start` is there, whatever was recorded before."""
    target.execute(
        "INSERT INTO tenancy.streams (name, applied) VALUES (%s, %s)"
        " ON CONFLICT (name) DO UPDATE SET applied = excluded.applied",
        [name, lsn_text(start)],
    )


def applied(target: Connection, name: str) -> Lsn | None:
    """How far it has been applied: everything up to there and nothing else; None when it was not begun."""
    row = target.execute("SELECT applied::text FROM tenancy.streams WHERE name = %s", [name]).fetchone()
    return parse_lsn(row[0]) if row is not None else None


def forget(target: Connection, name: str) -> None:
    """Leave nothing of it; when it is not there, neither."""
    target.execute("DELETE FROM tenancy.streams WHERE name = %s", [name])
