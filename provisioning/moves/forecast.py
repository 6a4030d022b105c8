"""What a move would do and take, told beforehand. Changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from control_plane.domain.server import Server
from control_plane.domain.tenant import Model, Status
from control_plane.registry import dry_runs, move_figures, tenants
from control_plane.registry.engine import transaction
from control_plane.tenants import moving
from provisioning import building
from provisioning.building import Place
from provisioning.estate import Estate
from provisioning.moves.copying import Size
from provisioning.moves.expecting import Expected, expected
from provisioning.moves.facts import gather
from provisioning.moves.preparing import terms_of
from provisioning.moves.recipes import Plan, plan

LOOKED_BACK = 50
"""So many earlier moves are asked what they took."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """From where to where, how much, how long; what speaks against it, if anything does."""

    slug: str
    source: Place
    server: Server | None
    """None when there is no place for it; then it is among the objections why."""
    model: Model
    reason: str | None
    """Why that server."""
    database: str | None
    """The pool or bridge there that was asked for."""
    suspended: bool
    rows: int
    bytes: int
    tables: Mapping[str, Size]
    """The same by table, the largest first; those without a row are left out."""
    expected: Expected
    plan: Plan
    """By which recipe, and what becomes of the terms."""
    objections: list[str]
    """Those of the roll and of the plan."""

    @property
    def stall_ms(self) -> int:
        """The longest that a request may wait: for as long as the copy takes, where it is made under freeze. Who is
        suspended waits for nothing.
        """
        if self.suspended:
            return 0
        return round(self.plan.stall_s * 1000) if self.plan.stall_s is not None else self.expected.stall_ms

    def told(self) -> dict[str, Any]:
        """As it is printed and answered in JSON."""
        return {
            "tenant": self.slug,
            "from": f"{self.source.home.model} on {self.source.server.name} ({self.source.database.name})",
            "to": self._to(),
            "because": self.reason,
            "recipe": self.plan.recipe,
            "rows": self.rows,
            "bytes": self.bytes,
            "tables": [{"table": name, "rows": each.rows, "bytes": each.bytes} for name, each in self.tables.items()],
            "seconds": self.expected.seconds,
            "stall_ms": self.stall_ms,
            "from_moves": self.expected.from_moves,
            "kept_s": self.plan.window_s,
            "note": self.plan.note,
            "objections": self.objections,
        }

    def _to(self) -> str:
        where = f" on {self.server.name}" if self.server is not None else ""
        return f"{self.model}{where}" + (f" ({self.database})" if self.database is not None else "")


def answer(estate: Estate, dry_run_id: UUID) -> None:
    """Record what that dry run asks for. What `foretell` raises."""
    with transaction(estate.engine) as session:
        row = dry_runs.get(session, dry_run_id)
    found = foretell(
        estate,
        str(row.tenant_id),
        Model(row.model),
        row.server,
        database=row.database,
        allow_freeze=row.allow_freeze,
        window_s=row.undo_window_s,
    )
    with transaction(estate.engine) as session:
        dry_runs.told(session, dry_run_id, found.told())


def foretell(
    estate: Estate,
    tenant: str,
    model: Model,
    server: str | None,
    *,
    database: str | None = None,
    allow_freeze: bool,
    window_s: int,
) -> Forecast:
    """The move of that tenant (slug or id), as it would be now. What `moving.foresee` raises."""
    with transaction(estate.engine) as session:
        row = tenants.find(session, tenant)
        prospect = moving.foresee(session, row, model, server, estate.settings.limits.full_at, database=database)
        source, slug, tenant_id = building.place_of(session, prospect.source), row.slug, row.id
        suspended = Status(row.status) is Status.SUSPENDED
        earlier = move_figures.earlier(session, LOOKED_BACK)
    facts = gather(estate, source, tenant_id, prospect.server)
    planned = plan(facts, terms_of(estate, allow_freeze=allow_freeze, window_s=window_s, nobody_waits=suspended))
    # What could not be read is among the objections.
    size = facts.size or Size(rows=0, bytes=0)
    return Forecast(
        slug=slug,
        source=source,
        server=prospect.server,
        model=model,
        reason=prospect.reason,
        database=database,
        suspended=suspended,
        rows=size.rows,
        bytes=size.bytes,
        tables=facts.tables,
        expected=expected(size, earlier, estate.settings.limits.background_share),
        plan=planned,
        objections=[*prospect.objections, *planned.objections],
    )
