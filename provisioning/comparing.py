"""Holding the targets of a run against freshly built ones at its end, where nobody watches who could be shown all."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from control_plane.registry import fleet_runs
from control_plane.registry.engine import transaction
from migrations.fleet import drift
from migrations.fleet.drift import Finding
from migrations.fleet.plan import Target
from migrations.fleet.run import FleetMigration
from provisioning.estate import Estate


def comparer(estate: Estate, migration: FleetMigration) -> Callable[[UUID], str | None]:
    """What says of a run in which way its targets are not what their revision says; None when all are."""

    def compare(run_id: UUID) -> str | None:
        with transaction(estate.engine) as session:
            meant = fleet_runs.targets(session, run_id)

        def targets() -> list[Target]:
            return [each for each in migration.targets() if (each.database_id, each.chain, each.schema) in meant]

        findings = drift.check(estate.engine, estate.chain, estate.references, targets).findings
        return _in_words(findings[0], len(findings)) if findings else None

    return compare


def _in_words(first: Finding, count: int) -> str:
    where = " / ".join(part for part in (first.server, first.database, first.schema) if part)
    what = " ".join(part for part in (first.kind, first.object, first.difference) if part)
    return f"not as built anew in {count} things, first {where}: {what}; `copyhold migrate check` tells all"
