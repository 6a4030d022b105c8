"""The roll is read before the homes: what a move does in between is no finding."""

from __future__ import annotations

from datetime import timedelta

import pytest

from control_plane.domain.ids import new_id
from control_plane.domain.moving import Phase
from control_plane.domain.tenant import Model, Status
from control_plane.registry.fleet import Revisions
from migrations.fleet.chains import HOME
from provisioning.doctor.compare import Expected, Seen, compare
from provisioning.doctor.homes import Fence, HomeSeen
from provisioning.doctor.roll import Roll, RollDatabase, RollHome, RollMove

TENANT, DATABASE = new_id(), new_id()
POOL = RollDatabase(
    id=DATABASE,
    server="alpha",
    name="pool_1",
    model=Model.POOL,
    home_revision=HOME.head,
    targets={"public": HOME.head},
    logins=("pool_1",),
)
LIVES_THERE = RollHome(
    tenant_id=TENANT,
    slug="globex",
    status=Status.SUSPENDED,
    database_id=DATABASE,
    schema="public",
    state="current",
    epoch=1,
)
LEFT = HomeSeen(
    home_revision=HOME.head,
    targets={"public": HOME.head},
    foreign={},
    fences={TENANT: Fence(epoch=3, state="closed")},
    key_digest="key",
)


def found(phase: Phase) -> set[str]:
    """What is told when the tenant's move was in that phase as the roll was read."""
    none = timedelta(0)
    move = RollMove(tenant_id=TENANT, slug="globex", phase=phase, age=none, overdue=none, reason=None, differs=False)
    roll = Roll(
        servers=(),
        databases=(POOL,),
        homes=(LIVES_THERE,),
        wanted=Revisions(home=HOME.head, tenant=HOME.head),
        stuck=(),
        failed=(),
        moves=(move,),
    )
    seen = Seen(servers={}, homes={DATABASE: LEFT})
    return {finding.check for finding in compare(roll, seen, Expected(keys={DATABASE: "key"}, chain=HOME))}


@pytest.mark.parametrize(
    ("phase", "checks"),
    [(Phase.FREEZING, []), (Phase.RETURNING, []), (Phase.KEPT, ["epoch_mismatch", "fence_state"])],
    ids=str,
)
def test_a_suspended_tenant_on_its_way_may_have_been_switched_since_the_roll_was_read(
    phase: Phase, checks: list[str]
) -> None:
    assert sorted(found(phase)) == checks
