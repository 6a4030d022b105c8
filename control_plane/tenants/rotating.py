"""Having the app log in to a tenant's database by another name and, where there is one, another password.

Two logins a database take turns: the roll says which is used, and both work while the one takes the other's place.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy.orm import Session

from control_plane import audit
from control_plane.domain import names
from control_plane.domain.errors import ConflictError
from control_plane.registry import fleet, moves, servers, tenants, workflow_records
from control_plane.registry.servers import READY
from control_plane.registry.tables import DatabaseRow, TenantRow
from control_plane.registry.workflow_records import UNENDED
from control_plane.registry.workflows import ROTATE, Workflows

_RECENT = 20
"""Workflows of one database among which one that still goes on would be."""


class SharedLoginError(ConflictError):
    """Other tenants use the same login, and theirs changes too."""

    code = "login_shared"


class NotRotatableError(ConflictError):
    """This tenant's login cannot be changed now."""

    code = "not_rotatable"


def rotate(session: Session, workflows: Workflows, tenant: TenantRow, actor: str, *, shared: bool) -> str:
    """Have the login of the tenant's database change; the workflow's id. Commits with the caller.

    A change that failed is gone on with. SharedLoginError when others live in that database, unless they are meant too
    (`shared`); NotRotatableError when there is no whole database, or its login is being changed; FleetBusyError while a
    run over the fleet goes on.
    """
    home = tenants.current_home(session, tenant.id)
    if home is None:
        raise NotRotatableError(f"{tenant.slug!r} has no home")
    database = servers.database(session, home.database_id, lock=True)
    others = servers.homes_in(session, [database.id])[database.id] - 1
    if others and not shared:
        raise SharedLoginError(
            f"{tenant.slug!r} shares the login of {database.name} with {others} other {_tenants(others)}, and theirs"
            " changes too: say that this is meant (--yes, or ?shared=true)",
            others=others,
        )
    return rotate_database(session, workflows, database, actor, tenant_id=tenant.id)


def rotate_database(
    session: Session, workflows: Workflows, database: DatabaseRow, actor: str, *, tenant_id: UUID | None = None
) -> str:
    """As `rotate`, whoever lives in that database, whose row the caller has locked."""
    if database.state != READY:
        raise NotRotatableError(f"{database.name} is {database.state}")
    if going_on := login_changes(session, database.id):
        raise NotRotatableError(f"the login of {database.name} is being changed: {going_on[0]}")
    if moving := moves.on_their_way(session, database.id):
        slugs = ", ".join(slug for _, slug in moving)
        raise NotRotatableError(f"{slugs} is being moved out of {database.name}, or into it: wait until it has arrived")
    fleet.keep_still(session)
    if database.next_login is None:
        database.next_login = names.other_login(database.name, database.login)
    audit.record(session, actor, "login.rotate", database.name, tenant_id=tenant_id, to=database.next_login)
    return workflow_records.start(session, workflows, ROTATE, database.id, actor)


def login_changes(session: Session, database_id: UUID) -> Sequence[str]:
    """The workflows that are changing the login of that database."""
    recent = workflow_records.of_subject(session, database_id, _RECENT)
    return [row.id for row in recent if row.kind == ROTATE and row.state in UNENDED]


def _tenants(number: int) -> str:
    return "tenant" if number == 1 else "tenants"
