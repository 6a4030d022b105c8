"""Going on with what failed: the same workflow anew, whose steps find what was done before."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.orm import Session

from control_plane import audit
from control_plane.domain.errors import ConflictError
from control_plane.domain.tenant import Model, Plan, Status
from control_plane.registry import servers, tenants, workflow_records
from control_plane.registry.tables import TenantRow
from control_plane.registry.workflow_records import FAILED
from control_plane.registry.workflows import (
    ADD_SERVER,
    EXPORT,
    FORETELL,
    GROW,
    MIGRATE,
    MOVE,
    MOVE_BACK,
    PROVISION,
    REMOVE_SERVER,
    REPLENISH,
    ROTATE,
    TIDY_MOVE,
    Workflows,
)
from control_plane.tenants import service
from control_plane.tenants.rotating import rotate_database
from control_plane.tenants.service import TenantWish

MOVES = frozenset({MOVE, MOVE_BACK, TIDY_MOVE})
MOVE_INSTEAD = "a move that failed goes back, or to its end, by itself: begin another one"


class NothingToRetryError(ConflictError):
    """Nothing failed that could be gone on with."""

    code = "nothing_to_retry"


def retry(session: Session, workflows: Workflows, tenant: TenantRow, actor: str) -> str:
    """Start anew what was last done to the tenant, if that failed; the new workflow's id. Commits with the caller.

    Whoever calls this has locked the tenant. NothingToRetryError when it did not fail.
    """
    newest = workflow_records.find(session, tenant.workflow_id) if tenant.workflow_id else None
    if Status(tenant.status) is Status.FAILED:
        service.make_again(session, workflows, tenant, _wish(tenant), actor)
    elif newest is not None and newest.kind in MOVES:
        raise NothingToRetryError(MOVE_INSTEAD)
    elif newest is not None and newest.state == FAILED and newest.kind != PROVISION:
        audit.record(session, actor, f"tenant.{newest.kind}_again", tenant.slug, tenant_id=tenant.id)
        service.start(session, workflows, tenant, newest.kind, actor)
    else:
        last = f"its {newest.kind} is {newest.state}" if newest else "nothing was started for it"
        raise NothingToRetryError(f"{tenant.slug!r} has nothing to retry: {last}")
    assert tenant.workflow_id is not None
    return tenant.workflow_id


def retry_workflow(session: Session, workflows: Workflows, workflow_id: str, actor: str) -> str:
    """Start a failed workflow anew; the new one's id. NotFoundError for an unknown one.

    NothingToRetryError when it did not fail, when a later one has taken its place, and for a run over the fleet.
    """
    record = workflow_records.get(session, workflow_id)
    if record.kind == MIGRATE:
        raise NothingToRetryError("a run over the fleet is gone on with by `copyhold migrate resume` or `retry`")
    if record.kind in MOVES:
        raise NothingToRetryError(MOVE_INSTEAD)
    if record.state != FAILED:
        raise NothingToRetryError(f"it is {record.state}")
    if record.kind == ROTATE:
        return _rotate_again(session, workflows, record.subject, actor)
    if record.kind in {REPLENISH, EXPORT, GROW, FORETELL, ADD_SERVER, REMOVE_SERVER}:
        return workflow_records.start(session, workflows, record.kind, record.subject, actor)
    tenant = tenants.get(session, record.subject, lock=True)
    if tenant.workflow_id != workflow_id:
        raise NothingToRetryError(f"{tenant.workflow_id} was started since")
    return retry(session, workflows, tenant, actor)


def _rotate_again(session: Session, workflows: Workflows, database_id: UUID, actor: str) -> str:
    database = servers.database(session, database_id, lock=True)
    if database.next_login is None:
        raise NothingToRetryError("another one has changed that login since")
    return rotate_database(session, workflows, database, actor)


def _wish(row: TenantRow) -> TenantWish:
    return TenantWish(
        slug=row.slug,
        name=row.name,
        plan=Plan(row.plan),
        model=Model(row.model),
        server=row.wanted_server,
        region=row.wanted_region,
    )
