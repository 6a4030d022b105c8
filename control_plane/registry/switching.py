"""The point of no return of a move, as the roll has it. Its tenant waits meanwhile: two round trips do it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Uuid, bindparam, case, func, or_, select, text, update

from control_plane.domain.moving import Phase
from control_plane.domain.tenant import Model
from control_plane.registry.engine import Together
from control_plane.registry.moves import CURRENT, KEPT, Held
from control_plane.registry.tables import HomeRow, MoveRow, RouteRow, TargetRow, TenantRow

_TENANT, _MOVE, _OLD, _NEW = (bindparam(name, type_=Uuid()) for name in ("tenant_id", "move_id", "old", "new"))
_REVISIONS = (
    select(TargetRow.revision)
    .join(HomeRow, (HomeRow.database_id == TargetRow.database_id) & (HomeRow.schema == TargetRow.schema))
    .where(or_(HomeRow.id == _OLD, HomeRow.id == _NEW))
)
_SWITCH = Together(
    text("BEGIN"),
    select(TenantRow.id).where(TenantRow.id == _TENANT).with_for_update(),
    select(MoveRow.phase, MoveRow.cancel_asked).where(MoveRow.id == _MOVE).with_for_update(),
    _REVISIONS,
    # The old one first: a tenant has one current home at every moment.
    update(HomeRow).where(HomeRow.id == _OLD).values(state=KEPT),
    update(HomeRow).where(HomeRow.id == _NEW).values(state=CURRENT),
    update(RouteRow)
    .where(RouteRow.tenant_id == _TENANT, RouteRow.epoch == bindparam("epoch"), RouteRow.home_id == _OLD)
    .values(home_id=_NEW, epoch=bindparam("next_epoch"))
    .returning(RouteRow.epoch),
    update(MoveRow)
    .where(MoveRow.id == _MOVE)
    .values(
        phase=bindparam("phase"),
        revision=case((bindparam("forth"), _REVISIONS.limit(1).scalar_subquery()), else_=MoveRow.revision),
        switched_at=func.now(),
        reason=None,
        verified=bindparam("verified"),
    ),
    update(TenantRow).where(TenantRow.id == _TENANT).values(model=bindparam("model")),
)


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
    given = {**vars(switch), "phase": str(switch.phase), "model": str(switch.model), "next_epoch": switch.epoch + 1}
    with held.together(_SWITCH, forth=switch.phase is Phase.SWITCHED, **given) as rows:
        _, _, ((phase, cancel_asked),), of_both, _, _, led, *_ = rows
        yield Found(
            phase=Phase(phase),
            cancel_asked=cancel_asked,
            same_revision=len(of_both) == 2 and of_both[0] == of_both[1],
            led=len(led) == 1,
        )
