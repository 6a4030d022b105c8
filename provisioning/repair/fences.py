"""Setting fences as the roll asks, while the roll cannot change."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from control_plane.domain.tenant import Status
from control_plane.registry import servers, tenants
from control_plane.registry.engine import transaction
from control_plane.registry.tables import DatabaseRow, HomeRow, RouteRow
from control_plane.registry.workflows import REOPEN, kind_of
from provisioning.doctor.compare import FENCE_OF
from provisioning.estate import Estate


def set_as_the_roll_asks(estate: Estate, server: str, database: str, tenant_id: UUID, *, may_open: bool) -> bool:
    """Set the tenant's fence there to what its status asks for, putting it up where there is none.

    False, and nothing is done, when the roll asks for nothing any more, or for an open fence that may not be opened.
    Whoever suspends or resumes the tenant meanwhile waits.
    """
    with transaction(estate.engine) as session:
        tenant = tenants.get(session, tenant_id, lock=True)
        status = Status(tenant.status)
        closing = status is Status.CLOSING and kind_of(tenant.workflow_id) != REOPEN
        homes = _homes_there(session, server, database, tenant_id)
        epoch = next((epoch for home, epoch in homes if home.state == "current" and epoch is not None), None)
        wanted = FENCE_OF.get(status) if epoch is not None else None
        left = homes and all(home.state in {"left", "kept"} for home, _ in homes)
        if closing or status is Status.CLOSED or left:
            wanted = "closed"
        if wanted is None or (wanted == "open" and not may_open):
            return False
        builder = estate.builder(servers.server_named(session, server))
        if epoch is not None and wanted != "closed":
            builder.ensure_fence(database, tenant_id, epoch)
        builder.set_fence(database, tenant_id, wanted)
        return True


def _homes_there(session: Session, server: str, database: str, tenant_id: UUID) -> list[tuple[HomeRow, int | None]]:
    """The tenant's homes in that database, each with its route's epoch if the route leads there."""
    query = (
        select(HomeRow, RouteRow.epoch)
        .join(DatabaseRow, DatabaseRow.id == HomeRow.database_id)
        .outerjoin(RouteRow, RouteRow.home_id == HomeRow.id)
        .where(HomeRow.tenant_id == tenant_id, DatabaseRow.server == server, DatabaseRow.name == database)
    )
    return [(home, epoch) for home, epoch in session.execute(query)]
