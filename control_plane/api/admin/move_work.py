"""What staff do to have tenants move, and see of it; each in one transaction."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from control_plane.api.admin.move_schemas import DryRunOut, EndOut, Foretold, MoveList, MoveOut, NewMove
from control_plane.domain.tenant import Model
from control_plane.registry import dry_runs, moves, tenants, workflow_records
from control_plane.registry.tables import MoveRow
from control_plane.registry.workflows import Workflows
from control_plane.settings import Settings
from control_plane.tenants import foretelling, moving

LISTED = 50


def begin(session: Session, workflows: Workflows, settings: Settings, ref: str, new: NewMove, actor: str) -> MoveOut:
    """The move that was begun."""
    row = moving.request(
        session,
        workflows,
        tenants.find(session, ref, lock=True),
        actor,
        model=new.model,
        server=new.server,
        database=new.database,
        undo_window=_window(settings, new),
        allow_freeze=new.allow_freeze,
        full_at=settings.limits.full_at,
    )
    return shown(session, row)


def foretell(
    session: Session, workflows: Workflows, settings: Settings, ref: str, new: NewMove, actor: str
) -> DryRunOut:
    """The dry run that a worker is about to do."""
    dry_run_id = foretelling.ask(
        session,
        workflows,
        tenants.find(session, ref),
        actor,
        model=new.model,
        server=new.server,
        database=new.database,
        undo_window=_window(settings, new),
        allow_freeze=new.allow_freeze,
        full_at=settings.limits.full_at,
    )
    return foretold(session, dry_run_id)


def foretold(session: Session, dry_run_id: UUID) -> DryRunOut:
    """What is known by now; NotFoundError for an unknown one."""
    row = dry_runs.get(session, dry_run_id)
    record = workflow_records.get(session, str(row.workflow_id))
    return DryRunOut(
        id=row.id,
        tenant_id=row.tenant_id,
        state=record.state,
        foretold=Foretold.model_validate(row.told) if row.told is not None else None,
        error=record.error,
        workflow_id=row.workflow_id,
        created_at=row.created_at,
    )


def back(session: Session, workflows: Workflows, ref: str, actor: str) -> MoveOut:
    """The move, which is being taken back."""
    return shown(session, moving.back(session, workflows, tenants.find(session, ref, lock=True), actor))


def cancel(session: Session, ref: str, actor: str) -> MoveOut:
    """The move, which ends where it began."""
    return shown(session, moving.cancel(session, tenants.find(session, ref, lock=True), actor))


def settle(session: Session, ref: str, actor: str) -> MoveOut:
    """The move, whose old home is cleaned up."""
    return shown(session, moving.settle(session, tenants.find(session, ref, lock=True), actor))


def details(session: Session, move_id: UUID) -> MoveOut:
    """How far a move is; NotFoundError for an unknown one."""
    return shown(session, moves.get(session, move_id))


def list_moves(session: Session, ref: str) -> MoveList:
    """The tenant's newest ones."""
    row = tenants.find(session, ref)
    return MoveList(items=[shown(session, each) for each in moves.of_tenant(session, row.id, LISTED)])


def _window(settings: Settings, new: NewMove) -> timedelta:
    return settings.limits.undo_window if new.undo_window_s is None else timedelta(seconds=new.undo_window_s)


def shown(session: Session, row: MoveRow) -> MoveOut:
    """The move and its two ends."""
    session.flush()
    session.refresh(row)
    own = {name: getattr(row, name) for name in MoveOut.model_fields if name not in {"source", "target"}}
    return MoveOut(source=_end(session, row.source_id), target=_end(session, row.target_id), **own)


def _end(session: Session, home_id: UUID | None) -> EndOut | None:
    end = moves.end_of(session, home_id)
    if end is None:
        return None
    return EndOut(server=end.server, database=end.database, db_schema=end.schema, model=Model(end.model))
