"""Having all of one tenant written out. Works inside the caller's transaction and leaves committing to it."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.orm import Session

from control_plane import audit
from control_plane.domain.errors import ConflictError, InvalidError, SetupError
from control_plane.domain.tenant import Status
from control_plane.registry import exports, workflow_records
from control_plane.registry.tables import ExportRow, TenantRow
from control_plane.registry.workflows import EXPORT, Workflows
from control_plane.settings import Settings
from control_plane.tenants.closing import ErasingError, is_erasing

PATH_MAX = 1000


class NothingToExportError(ConflictError):
    """The tenant has nothing that could be exported."""

    code = "nothing_to_export"


class ExportFolderError(InvalidError):
    """An export is written into a folder that is named from the root on."""

    code = "export_folder"


def folder_of(settings: Settings, tenant: TenantRow, export: ExportRow, parent: Path | None = None) -> Path:
    """Where an export is written to, in `parent` or where all are; SetupError when neither is known."""
    where = parent or settings.export_dir
    if where is None:
        raise SetupError("nobody has said where exports are written to: set COPYHOLD_EXPORT_DIR, or say --to DIR")
    return where / f"{tenant.slug}-{export.created_at:%Y%m%d}-{export.id}"


def request(
    session: Session, workflows: Workflows, settings: Settings, tenant: TenantRow, actor: str, to: Path | None = None
) -> tuple[ExportRow, str]:
    """Have a worker write all that the tenant has into a folder of its own in `to`; the export and its workflow's id.

    NothingToExportError for one without a home, ErasingError once that is being erased.
    """
    if Status(tenant.status) in {Status.PROVISIONING, Status.FAILED, Status.CLOSED}:
        raise NothingToExportError(f"{tenant.slug!r} has nothing to export: it is {tenant.status}")
    if is_erasing(tenant):
        raise ErasingError(f"it is too late: what {tenant.slug!r} has is being erased")
    if to is not None and not (to.is_absolute() and len(str(to)) <= PATH_MAX and str(to).isprintable()):
        raise ExportFolderError
    export = exports.add(session, tenant.id, actor)
    export.path = str(folder_of(settings, tenant, export, to))
    audit.record(session, actor, "tenant.export", tenant.slug, tenant_id=tenant.id, export=str(export.id))
    return export, workflow_records.start(session, workflows, EXPORT, export.id, actor)
