"""Following a workflow while it works on a tenant."""

from __future__ import annotations

import time
from collections.abc import Callable
from uuid import UUID

from cli.waiting import SILENCE_S, WAIT_S, GaveUpError, NotYetError, pause
from cli.wiring import Platform
from control_plane.registry import progress, tenants, workflow_records
from control_plane.registry.engine import transaction
from control_plane.registry.tables import ProgressRow, TenantRow, WorkflowRow
from control_plane.registry.workflow_records import UNENDED
from control_plane.registry.workflows import EXPORT, ROTATE


def follow(
    platform: Platform,
    tenant_id: UUID,
    workflow_id: str,
    steps: int,
    on_step: Callable[[ProgressRow], None],
    on_silence: Callable[[float], None],
    *,
    wait_s: float = WAIT_S,
) -> TenantRow:
    """Wait until a workflow of that many steps is done, telling each; the tenant as it is then.

    GaveUpError, with the reason where it is known, when it ended without them. NotYetError after `wait_s`.
    """
    seen, silent_since, warned = 0, time.monotonic(), False
    deadline = silent_since + wait_s
    while True:
        # Asked first: what is recorded after this was recorded by a workflow that had not ended.
        record = _record(platform, workflow_id)
        tenant, done = _state(platform, tenant_id, workflow_id)
        for row in done[seen:]:
            on_step(row)
            silent_since = time.monotonic()
        seen = len(done)
        if seen == steps:
            return tenant
        if record is not None and record.state not in UNENDED:
            reason = record.error or tenant.failure or f"ended after {seen} of {steps} steps, as the worker's log says"
            raise GaveUpError(f"{reason}; {_what_then(record.kind, tenant.slug)}")
        now = time.monotonic()
        if now > deadline:
            raise NotYetError(f"not done after {wait_s:.0f} s; it goes on as soon as a worker can")
        if not warned and now - silent_since > SILENCE_S:
            on_silence(now - silent_since)
            warned = True
        pause()


def _what_then(kind: str, slug: str) -> str:
    if kind in (ROTATE, EXPORT):  # `tenant retry` goes on with what was last done to the tenant itself
        return "repeat the command once that is put right"
    return f"once that is put right: copyhold tenant retry {slug}"


def _record(platform: Platform, workflow_id: str) -> WorkflowRow | None:
    with transaction(platform.engine) as session:
        return workflow_records.find(session, workflow_id)


def _state(platform: Platform, tenant_id: UUID, workflow_id: str) -> tuple[TenantRow, list[ProgressRow]]:
    with transaction(platform.engine) as session:
        return tenants.get(session, tenant_id), list(progress.of_workflow(session, workflow_id))
