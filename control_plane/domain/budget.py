"""How many server connections each pooler entry may hold: a pure share of each server's budget."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

from control_plane.domain.server import Server
from control_plane.domain.tenant import Model

SHARED_POOL_MAX = 40
SILO_POOL_MAX = 8
SHARED_PART = 0.5
"""Of a server's budget, the most that its pool and bridge databases take together while there are silos too."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A database that the pooler is to serve."""

    database_id: UUID
    server: str
    model: Model


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Pool sizes by database, and by server the sum of them over the budget (above 1 is oversubscribed)."""

    pool_sizes: Mapping[UUID, int]
    subscribed: Mapping[str, float]


def share_out(servers: Iterable[Server], entries: Iterable[Entry]) -> Budget:
    """Every entry gets one connection at least: many silos oversubscribe a server, and idle ones are let go early."""
    entries = list(entries)
    sizes: dict[UUID, int] = {}
    subscribed: dict[str, float] = {}
    for server in servers:
        here = [entry for entry in entries if entry.server == server.name]
        silos = [entry for entry in here if entry.model is Model.SILO]
        shared = [entry for entry in here if entry.model is not Model.SILO]
        # Never at the cost of any silo's first one.
        part = min(server.connections * (SHARED_PART if silos else 1), server.connections - len(silos))
        for entry in shared:
            sizes[entry.database_id] = max(1, min(SHARED_POOL_MAX, int(part // len(shared))))
        rest = server.connections - sum(sizes[entry.database_id] for entry in shared)
        for entry in silos:
            sizes[entry.database_id] = max(1, min(SILO_POOL_MAX, rest // len(silos)))
        subscribed[server.name] = sum(sizes[entry.database_id] for entry in here) / server.connections
    return Budget(pool_sizes=sizes, subscribed=subscribed)
