"""What staff see of workflows and do about them, each in one transaction."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from control_plane.api.admin.schemas import StepOut, WorkflowOut, WorkflowState
from control_plane.registry import progress, workflow_records
from control_plane.registry.tables import TenantRow
from control_plane.registry.workflows import Workflows
from control_plane.tenants import retrying


@dataclass(frozen=True, kw_only=True)
class Look:
    """A workflow, and the steps that have been done since the look before."""

    workflow: WorkflowState
    steps: list[StepOut]
    seen: int


def details(session: Session, workflow_id: str) -> WorkflowOut:
    """How far a workflow is; NotFoundError when nobody has heard of it."""
    record = WorkflowState.model_validate(workflow_records.get(session, workflow_id))
    steps = [StepOut.model_validate(row) for row in progress.of_workflow(session, workflow_id)]
    return WorkflowOut(**record.model_dump(), steps=steps)


def newest(session: Session, tenant: TenantRow) -> WorkflowOut | None:
    """What was last started for a tenant."""
    if tenant.workflow_id is None or workflow_records.find(session, tenant.workflow_id) is None:
        return None
    return details(session, tenant.workflow_id)


def look(session: Session, workflow_id: str, seen: int) -> Look:
    """The workflow first and its steps then: of one that is seen to have ended, no step is missed."""
    record = WorkflowState.model_validate(workflow_records.get(session, workflow_id))
    steps = [StepOut.model_validate(row) for row in progress.of_workflow(session, workflow_id)]
    return Look(workflow=record, steps=steps[seen:], seen=len(steps))


def retry(session: Session, workflows: Workflows, workflow_id: str, actor: str) -> WorkflowOut:
    """The workflow that goes on with a failed one; NothingToRetryError when it did not fail."""
    return details(session, retrying.retry_workflow(session, workflows, workflow_id, actor))
