"""What staff do to end a tenant, and to write out what it has; each in one transaction."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy.orm import Session

from control_plane.api.admin.schemas import ExportList, ExportOut, ListedTenant, NewClosing
from control_plane.domain.errors import InvalidError
from control_plane.registry import exports, tenants
from control_plane.registry.workflows import Workflows
from control_plane.settings import Settings
from control_plane.tenants import closing, exporting

LISTED = 50


class UnconfirmedError(InvalidError):
    """Erasing at once has to be confirmed: `confirm` is the tenant's slug."""

    code = "closing_unconfirmed"


def close(session: Session, workflows: Workflows, ref: str, new: NewClosing, actor: str) -> ListedTenant:
    """The tenant, refused from now on; UnconfirmedError when it would be erased at once and that is not confirmed."""
    row = tenants.find(session, ref, lock=True)
    if not new.grace_s and new.confirm != row.slug:
        raise UnconfirmedError
    grace = timedelta(seconds=new.grace_s)
    closing.close(session, workflows, row, actor, grace=grace, export=new.export)
    return ListedTenant.model_validate(row)


def reopen(session: Session, workflows: Workflows, ref: str, actor: str) -> ListedTenant:
    """The tenant, which will be what it was."""
    row = tenants.find(session, ref, lock=True)
    closing.reopen(session, workflows, row, actor)
    return ListedTenant.model_validate(row)


def export(session: Session, workflows: Workflows, settings: Settings, ref: str, actor: str) -> ExportOut:
    """The export that was begun."""
    row = tenants.find(session, ref, lock=True)
    made, _ = exporting.request(session, workflows, settings, row, actor)
    return ExportOut.model_validate(made)


def list_exports(session: Session, ref: str) -> ExportList:
    """The tenant's newest ones."""
    row = tenants.find(session, ref)
    return ExportList(items=[ExportOut.model_validate(each) for each in exports.of_tenant(session, row.id, LISTED)])
