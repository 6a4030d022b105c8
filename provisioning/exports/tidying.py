"""Deleting exports that have been kept for as long as they are to be."""

from __future__ import annotations

import shutil
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from uuid import UUID

from sqlalchemy import Engine

from control_plane import audit
from control_plane.registry import exports, tenants
from control_plane.registry.engine import transaction
from control_plane.settings import Settings
from provisioning.exports.write import unfinished


def delete_old(engine: Engine, settings: Settings, actor: str) -> None:
    """Delete what is older than `export_days` in `export_dir`, whole or not at all; what was written elsewhere stays.

    What this machine does not have is another worker's to delete, or somebody has done so.
    """
    if settings.export_days is None or settings.export_dir is None:
        return
    with transaction(engine) as session:
        old = exports.done_before(session, timedelta(days=settings.export_days))
        found = [(row.id, Path(row.path)) for row in old if row.path]
    for export_id, folder in found:
        if folder.parent == settings.export_dir and _deleted(folder):
            _record(engine, export_id, actor)


def _deleted(folder: Path) -> bool:
    """Whether it was there, and is gone. Renamed first: nobody takes a half of it for the whole."""
    hidden = unfinished(folder)
    with suppress(FileNotFoundError):
        folder.rename(hidden)
    if not hidden.exists():
        return False
    shutil.rmtree(hidden, ignore_errors=True)
    return not hidden.exists()


def _record(engine: Engine, export_id: UUID, actor: str) -> None:
    with transaction(engine) as session:
        row = exports.get(session, export_id, lock=True)
        if row.state != exports.DONE:
            return
        row.state = exports.DELETED
        tenant = tenants.get(session, row.tenant_id)
        audit.record(session, actor, "tenant.export_deleted", tenant.slug, tenant_id=tenant.id, export=str(row.id))
