"""What staff see of tenants and what they send about them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from control_plane.api.inputs import Input, Name, Output
from control_plane.api.schemas import TenantOut
from control_plane.api.text import Address, Line
from control_plane.domain.route import Role
from control_plane.domain.tenant import SLUG_LENGTH_MAX, Model, Plan
from control_plane.tenants.closing import GRACE, GRACE_MAX
from control_plane.tenants.labels import LABELS_MAX

Labels = Annotated[
    list[Name],
    Field(max_length=LABELS_MAX, description="Words by which tenants are chosen: small letters, digits, hyphens."),
]


class NewTenant(Input):
    """A tenant to be made for a customer."""

    name: Line
    slug: Annotated[str | None, Field(max_length=SLUG_LENGTH_MAX, description="Made from the name without it.")] = None
    plan: Plan
    model: Model
    server: Name | None = None
    """Chosen by room without it."""
    region: Name | None = None
    owner_email: Address | None = None
    labels: Labels = []


class NewPlan(Input):
    """The plan that a tenant is to be on."""

    plan: Plan
    move: bool | None = None
    """Without it a tenant is moved if the plan promises more than it has; true: also to less; false: not at all."""


class NewLabels(Input):
    """The labels that a tenant is to have, and no others."""

    labels: Labels


class NewClosing(Input):
    """How a tenant is to be closed."""

    grace_s: Annotated[int, Field(ge=0, le=int(GRACE_MAX.total_seconds()))] = int(GRACE.total_seconds())
    """How long it can be had back; with 0 what it has is erased at once."""
    export: bool = True
    """Whether all that it has is written out before it is erased."""
    confirm: Annotated[str | None, Field(max_length=64, description="Its slug; asked for when grace_s is 0.")] = None


class NewKey(Input):
    """An API key to be made. Without scopes it may do all that its role may."""

    name: Line
    role: Role = Role.MEMBER
    scopes: Annotated[list[str], Field(max_length=10, description="read, write")] = []


class ListedTenant(TenantOut):
    """A tenant in a list."""

    labels: list[str]
    created_at: datetime
    failure: str | None = None
    """Why its home could not be made."""


class PlannedTenant(ListedTenant):
    """A tenant on a plan, and what came of that."""

    moves_to: Model | None
    """What it is to be housed as by its plan; nothing when it is."""
    server: str | None
    """Where there is room for that."""
    move_id: UUID | None
    """Of the move that was begun."""
    not_moved: str | None
    """Why none was."""


class TenantPage(Output):
    """Some tenants, oldest first, and where the next page starts."""

    items: list[ListedTenant]
    next: UUID | None


class PlanChange(Output):
    """Since when a tenant has had a plan."""

    plan: Plan
    actor: str
    at: datetime


class HomeOut(Output):
    """Where a tenant lives. `epoch` and `revision` are set once its route leads there."""

    tenant_id: UUID
    slug: str
    model: Model
    server: str
    database: str
    db_schema: str = Field(serialization_alias="schema")
    state: str
    epoch: int | None
    revision: str | None
    reason: str | None
    """Why that server was chosen."""
    created_at: datetime


class HomePage(Output):
    """Some homes, oldest first, and where the next page starts."""

    items: list[HomeOut]
    next: UUID | None


class StepOut(Output):
    """One step of a workflow that is done."""

    step: str
    duration_ms: int
    at: datetime


class WorkflowState(Output):
    """A workflow and what came of it."""

    id: str
    kind: str
    subject: UUID
    """The tenant, the run over the fleet or the server that it is about."""
    actor: str
    state: str
    """requested, running, done or failed."""
    error: str | None
    """Why it failed, in words."""
    started_at: datetime
    ended_at: datetime | None


class WorkflowOut(WorkflowState):
    """How far a workflow is."""

    steps: list[StepOut]


class WorkflowEvent(WorkflowState):
    """The first line: the workflow as it is now."""

    event: Literal["workflow"] = "workflow"


class StepEvent(StepOut):
    """A step is done."""

    event: Literal["step"] = "step"


class WorkflowEndEvent(WorkflowState):
    """The last line: the workflow has ended."""

    event: Literal["end"] = "end"


class TenantDetails(ListedTenant):
    """All that the control plane knows of one tenant."""

    activated_at: datetime | None
    closes_at: datetime | None
    """When a closing one is erased, or a closed one was due."""
    closed_at: datetime | None
    wanted_server: str | None
    wanted_region: str | None
    home: HomeOut | None
    misplaced: str | None
    """That it has less than its plan promises, and the command that mends it."""
    keys: int
    """Those that are good for something."""
    plan_history: list[PlanChange]
    workflow: WorkflowOut | None
    """The newest one."""


class ExportOut(Output):
    """All of a tenant, written to a folder that the worker sees. `sha256` is its manifest's."""

    id: UUID
    tenant_id: UUID
    actor: str
    state: str
    """requested, running, done, failed or deleted."""
    path: str | None
    rows: int | None
    bytes: int | None
    sha256: str | None
    error: str | None
    created_at: datetime
    ended_at: datetime | None


class ExportList(Output):
    """The newest exports of a tenant, newest first."""

    items: list[ExportOut]


class KeyOut(Output):
    """An API key, without its secret."""

    id: UUID
    tenant_id: UUID
    name: str
    role: Role
    scopes: list[str]
    created_at: datetime
    revoked_at: datetime | None


class KeyList(Output):
    """Every key of a tenant, oldest first."""

    items: list[KeyOut]


class KeyWithSecret(KeyOut):
    """A new API key; `key` is told this once."""

    key: str
