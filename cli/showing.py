"""Tenants as commands show them, in JSON and to a person."""

from __future__ import annotations

from datetime import datetime
from typing import TypedDict

from sqlalchemy.orm import Session

from cli.onboarding import tenant_url
from cli.wiring import Platform
from control_plane.entitlements import misplaced
from control_plane.registry import keys, reports, tenants, workflow_records
from control_plane.registry.engine import transaction
from control_plane.registry.reports import HomeReport
from control_plane.registry.tables import TenantRow


class TenantInList(TypedDict):
    """A tenant in a list."""

    id: str
    slug: str
    name: str
    model: str
    status: str
    plan: str
    labels: list[str]
    created_at: datetime


class HomeShown(TypedDict):
    """Where a tenant lives."""

    server: str
    database: str
    schema: str
    model: str
    reason: str | None
    """Why that server was chosen."""


class WorkflowShown(TypedDict):
    """What was last started for a tenant, and what came of it. `error` is why it failed."""

    id: str
    kind: str
    state: str
    actor: str
    error: str | None
    started_at: datetime
    ended_at: datetime | None


class TenantShown(TenantInList):
    """All that the roll knows of one tenant; without a home, what comes of it is null."""

    activated_at: datetime | None
    closes_at: datetime | None
    """When a closing one is erased, or a closed one was due."""
    closed_at: datetime | None
    failure: str | None
    url: str
    home: HomeShown | None
    misplaced: str | None
    """That it has less than its plan promises, and the command that mends it."""
    server: str | None
    epoch: int | None
    revision: str | None
    keys: int
    """Those that are good for something."""
    workflow: WorkflowShown | None


def in_list(row: TenantRow) -> TenantInList:
    """The row as lists show it."""
    return TenantInList(
        id=str(row.id),
        slug=row.slug,
        name=row.name,
        model=row.model,
        status=row.status,
        plan=row.plan,
        labels=row.labels,
        created_at=row.created_at,
    )


def tenant_shown(platform: Platform, text: str) -> TenantShown:
    """The tenant of that slug or id, or UnknownTenantError."""
    with transaction(platform.engine) as session:
        row = tenants.find(session, text)
        found = reports.homes(session, after=None, limit=1, tenant_id=row.id)
        home = found[0] if found else None
        good_keys = sum(key.revoked_at is None for key in keys.of_tenant(session, row.id))
        return TenantShown(
            **in_list(row),
            activated_at=row.activated_at,
            closes_at=row.closes_at,
            closed_at=row.closed_at,
            failure=row.failure,
            url=tenant_url(platform.settings, row.slug),
            home=_home(home) if home else None,
            misplaced=misplaced(row, platform.settings.plan_models),
            server=home.server if home else None,
            epoch=home.epoch if home else None,
            revision=home.revision if home else None,
            keys=good_keys,
            workflow=_workflow(session, row.workflow_id),
        )


def home_in_line(home: HomeShown) -> str:
    """A home as one line."""
    return f"{home['server']} / {home['database']} / {home['schema']}"


def workflow_in_line(workflow: WorkflowShown) -> str:
    """A workflow as one line."""
    return f"{workflow['kind']} {workflow['state']}" + (f": {workflow['error']}" if workflow["error"] else "")


def _workflow(session: Session, workflow_id: str | None) -> WorkflowShown | None:
    record = workflow_records.find(session, workflow_id) if workflow_id else None
    if record is None:
        return None
    return WorkflowShown(
        id=record.id,
        kind=record.kind,
        state=record.state,
        actor=record.actor,
        error=record.error,
        started_at=record.started_at,
        ended_at=record.ended_at,
    )


def _home(found: HomeReport) -> HomeShown:
    return HomeShown(
        server=found.server,
        database=found.database,
        schema=found.home.schema,
        model=found.home.model,
        reason=found.home.reason,
    )
