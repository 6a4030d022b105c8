"""What a move would do and take, told beforehand. Changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from control_plane.domain.server import Server
from control_plane.domain.tenant import Model
from control_plane.registry import dry_runs, tenants
from control_plane.registry.engine import transaction
from control_plane.tenants import moving
from provisioning import building
from provisioning.building import Place
from provisioning.estate import Estate
from provisioning.moves.copying import sizes
from provisioning.moves.errors import UnmovableError, at_source
from provisioning.moves.facts import gather
from provisioning.moves.places import source_of
from provisioning.moves.preconditions import objections
from provisioning.moves.tables import tables_of
from provisioning.moves.trips import end_of

ROWS_A_SECOND = 80_000
"""Copied on one machine: 100,000 rows took 1.3 to 3.0 s, a million 8.6 to 12.1."""
AROUND_IT_S = 2.0
"""For the home, the stream's beginning, catching up and the end."""
STALL_MS = 60
"""Longest wait seen with 100,000 rows, 8 connections and 200 transactions a second: 18 to 63 ms."""
STALL_LARGE_MS = 270
"""With a million: 115 to 266 ms."""
LARGE_ROWS = 500_000


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """From where to where, how much, how long; what speaks against it, if anything does."""

    slug: str
    source: Place
    server: Server
    model: Model
    reason: str
    """Why that server."""
    rows: int
    bytes: int
    seconds: float
    stall_ms: int
    objections: list[str]

    def told(self, window: timedelta) -> dict[str, Any]:
        """As it is printed and answered in JSON; `window`: how long the old home is to be kept."""
        return {
            "tenant": self.slug,
            "from": f"{self.source.home.model} on {self.source.server.name} ({self.source.database.name})",
            "to": f"{self.model} on {self.server.name}",
            "because": self.reason,
            "rows": self.rows,
            "bytes": self.bytes,
            "seconds": self.seconds,
            "stall_ms": self.stall_ms,
            "kept_s": round(window.total_seconds()),
            "objections": self.objections,
        }


def answer(estate: Estate, dry_run_id: UUID) -> None:
    """Record what that dry run asks for. What `foretell` raises."""
    with transaction(estate.engine) as session:
        row = dry_runs.get(session, dry_run_id)
    found = foretell(estate, str(row.tenant_id), Model(row.model), row.server)
    with transaction(estate.engine) as session:
        dry_runs.told(session, dry_run_id, found.told(timedelta(seconds=row.undo_window_s)))


def foretell(estate: Estate, tenant: str, model: Model, server: str | None) -> Forecast:
    """The move of that tenant (slug or id), as it would be now. What `moving.consider` raises when it goes nowhere."""
    with transaction(estate.engine) as session:
        row = tenants.find(session, tenant)
        journey = moving.consider(session, row, model, server, estate.settings.limits.full_at)
        source, slug, tenant_id = building.place_of(session, journey.source), row.slug, row.id
        hindrances = moving.hindrances(session, row, journey)
    facts = gather(estate, source)
    rows = size = 0
    with source_of(end_of(estate, source)) as connection:
        try:
            with at_source(connection):
                tables = tables_of(connection, source.home.schema, estate.app.metadata)
            found = sizes(connection, source.home.schema, tables, tenant_id).values()
            rows, size = sum(each.rows for each in found), sum(each.bytes for each in found)
        except UnmovableError:
            pass  # It is among the objections.
    return Forecast(
        slug=slug,
        source=source,
        server=journey.choice.server,
        model=model,
        reason=journey.choice.reason,
        rows=rows,
        bytes=size,
        seconds=round(AROUND_IT_S + rows / ROWS_A_SECOND, 1),
        stall_ms=STALL_MS if rows < LARGE_ROWS else STALL_LARGE_MS,
        objections=[*hindrances, *objections(facts)],
    )
