"""The point of no return of a move, as the roll has it. Its tenant waits meanwhile: two round trips do it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import func, or_, select, update

from control_plane.domain.moving import Phase
from control_plane.domain.tenant import Model
from control_plane.registry.moves import CURRENT, KEPT, Held
from control_plane.registry.tables import HomeRow, MoveRow, RouteRow, TargetRow, TenantRow


@dataclass(frozen=True, kw_only=True)
class Switch:
    """A tenant that nobody serves now, and the home that is to serve it."""

    tenant_id: UUID
    move_id: UUID
    phase: Phase
    """Of the move then: SWITCHED, or RETURNED."""
    epoch: int
    """Of its route until then."""
    old: UUID
    new: UUID
    """Homes."""
    model: Model
    verified: bool | None


@dataclass(frozen=True, kw_only=True)
class Found:
    """What was there before, locked."""

    phase: Phase
    cancel_asked: bool
    same_revision: bool
    """Whether both homes are at one."""
    led: bool
    """Whether the route led to the old home, at that epoch."""


@contextmanager
def switched(held: Held, switch: Switch) -> Iterator[Found]:
    """All of it is written and is committed at the block's end, unless the block raises: it looks at what was there.

    As `Held.together`.
    """
    revisions = (
        select(TargetRow.revision)
        .join(HomeRow, (HomeRow.database_id == TargetRow.database_id) & (HomeRow.schema == TargetRow.schema))
        .where(or_(HomeRow.id == switch.old, HomeRow.id == switch.new))
    )
    move: dict[str, object] = {
        "phase": str(switch.phase),
        "switched_at": func.now(),
        "reason": None,
        "verified": switch.verified,
    }
    if switch.phase is Phase.SWITCHED:
        move["revision"] = revisions.limit(1).scalar_subquery()
    state = update(HomeRow).values
    with held.together(
        select(TenantRow.id).where(TenantRow.id == switch.tenant_id).with_for_update(),
        select(MoveRow.phase, MoveRow.cancel_asked).where(MoveRow.id == switch.move_id).with_for_update(),
        revisions,
        # The old one first: a tenant has one current home at every moment.
        state(state=KEPT).where(HomeRow.id == switch.old),
        state(state=CURRENT).where(HomeRow.id == switch.new),
        update(RouteRow)
        .where(RouteRow.tenant_id == switch.tenant_id, RouteRow.epoch == switch.epoch, RouteRow.home_id == switch.old)
        .values(home_id=switch.new, epoch=switch.epoch + 1)
        .returning(RouteRow.epoch),
        update(MoveRow).where(MoveRow.id == switch.move_id).values(move),
        update(TenantRow).where(TenantRow.id == switch.tenant_id).values(model=str(switch.model)),
    ) as (_, ((phase, cancel_asked),), of_both, _, _, led, *_):
        yield Found(
            phase=Phase(phase),
            cancel_asked=cancel_asked,
            same_revision=len(of_both) == 2 and of_both[0] == of_both[1],
            led=len(led) == 1,
        )
