"""How many server connections each pooler entry may hold: a pure share of each server's budget."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from control_plane.domain.server import Server
from control_plane.domain.tenant import Model

SHARED_POOL_MAX = 40
SILO_POOL_MAX = 8
SHARED_PART = 0.5
"""Of a server's budget, the most that its pool and bridge databases take together while there are silos too."""


class Pooled(Protocol):
    """A database that the pooler is to serve."""

    @property
    def alias(self) -> str:
        """Its name at the pooler."""

    @property
    def server(self) -> str:
        """Whose budget it shares in."""

    @property
    def model(self) -> Model:
        """Decides the most that it may have."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """No more than that of one."""

    alias: str
    server: str
    model: Model


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Pool sizes by alias, and by server the sum of them over the budget (above 1 is oversubscribed)."""

    pool_sizes: Mapping[str, int]
    subscribed: Mapping[str, float]


def share_out(servers: Iterable[Server], entries: Iterable[Pooled]) -> Budget:
    """Every entry gets one connection at least: many silos oversubscribe a server, and idle ones are let go early."""
    by_server: dict[str, list[Pooled]] = {}
    for entry in entries:
        by_server.setdefault(entry.server, []).append(entry)
    sizes: dict[str, int] = {}
    subscribed: dict[str, float] = {}
    for server in servers:
        here = by_server.get(server.name, [])
        silos = [entry.alias for entry in here if entry.model is Model.SILO]
        shared = [entry.alias for entry in here if entry.model is not Model.SILO]
        # Never at the cost of any silo's first one.
        part = min(server.connections * (SHARED_PART if silos else 1), server.connections - len(silos))
        of_shared = max(1, min(SHARED_POOL_MAX, int(part // len(shared)))) if shared else 0
        rest = server.connections - of_shared * len(shared)
        of_silos = max(1, min(SILO_POOL_MAX, rest // len(silos))) if silos else 0
        sizes |= dict.fromkeys(shared, of_shared) | dict.fromkeys(silos, of_silos)
        used = of_shared * len(shared) + of_silos * len(silos)
        subscribed[server.name] = used / server.connections if server.connections else float(used)
    return Budget(pool_sizes=sizes, subscribed=subscribed)
