"""A move whose record is lost: it is put on record again, in the phase that leads to its end by what is left of it."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from control_plane import audit
from control_plane.domain.errors import ConflictError
from control_plane.domain.ids import new_id
from control_plane.domain.moving import Phase
from control_plane.domain.tenant import Status
from control_plane.registry import fleet, moves, tenants
from control_plane.registry.moves import FILLING, KEPT
from control_plane.registry.tables import HomeRow, MoveRow, RouteRow, TenantRow

REASON = "its record was lost: it is taken to where what was left of it leads"


class NothingLostError(ConflictError):
    """No move of this tenant is missing."""

    code = "move_not_lost"


def recover(session: Session, tenant: TenantRow, actor: str) -> MoveRow:
    """Have a worker take what is left of a move to its end: the tenant served where its route leads, the other home
    emptied. Whoever calls this has locked the tenant; commits with the caller.

    NothingLostError when there is nothing to take to an end; FleetBusyError while a run over the fleet goes on.
    """
    if moves.open_of(session, tenant.id) is not None:
        raise NothingLostError
    query = select(HomeRow).where(HomeRow.tenant_id == tenant.id, HomeRow.state.in_((FILLING, KEPT)))
    other = session.scalars(query.order_by(HomeRow.id).limit(1)).one_or_none()
    current, moving = tenants.current_home(session, tenant.id), Status(tenant.status) is Status.MOVING
    if current is None or (other is None and not moving):
        raise NothingLostError
    fleet.keep_still(session)
    left = other is not None and other.state == KEPT
    source, target = (other, current) if left else (current, other)
    assert source is not None
    row = MoveRow(
        id=new_id(),
        tenant_id=tenant.id,
        actor=actor,
        source_id=source.id,
        target_id=target.id if target is not None else None,
        model=target.model if target is not None else source.model,
        server=None,
        phase=str(_phase(left=left, moving=moving)),
        epoch=session.get_one(RouteRow, tenant.id).epoch,
        undo_window_s=0,
        reason=REASON,
    )
    moves.add(session, row)
    audit.record(session, actor, "tenant.move_recovered", tenant.slug, tenant_id=tenant.id, phase=row.phase)
    return row


def _phase(*, left: bool, moving: bool) -> Phase:
    """The route has been switched, or has not; and whoever is on the way has still to be let in."""
    if not left:
        return Phase.CALLING_OFF
    return Phase.SWITCHED if moving else Phase.CLEANING
