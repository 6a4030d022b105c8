"""Asking what a move would do and take. Servers are looked at by a worker, who records what it has found."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from control_plane.domain.ids import new_id
from control_plane.domain.tenant import Model
from control_plane.registry import dry_runs, placing, workflow_records
from control_plane.registry.tables import DryRunRow, TenantRow
from control_plane.registry.workflows import FORETELL, Workflows
from control_plane.tenants import moving


def ask(
    session: Session,
    workflows: Workflows,
    tenant: TenantRow,
    actor: str,
    *,
    model: Model,
    server: str | None,
    database: str | None,
    undo_window: timedelta,
    allow_freeze: bool,
    full_at: placing.FullAt,
) -> UUID:
    """Have a worker find out, when the caller commits; the dry run's id. Nothing is done to the tenant.

    What `moving.foresee` raises.
    """
    prospect = moving.foresee(session, tenant, model, server, full_at, database=database)
    row = DryRunRow(
        id=new_id(),
        tenant_id=tenant.id,
        actor=actor,
        model=str(model),
        server=server,
        database=database,
        undo_window_s=round(undo_window.total_seconds()),
        allow_freeze=allow_freeze,
    )
    dry_runs.add(session, row)
    # What it asks is asked of the server that the tenant lives on: one that does not answer holds up its own lane.
    lane = prospect.source_database.server
    row.workflow_id = workflow_records.start(session, workflows, FORETELL, row.id, actor, server=lane)
    session.flush()
    return row.id
