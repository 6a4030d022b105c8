"""A server's disk is full while tenants move there, and while the home that one has left is kept there."""

from __future__ import annotations

from collections.abc import Iterator
from secrets import token_hex
from uuid import UUID

import pytest

from control_plane.domain.moving import Phase
from control_plane.domain.tenant import Model
from tests.moves.whole.held import Case, held_moves
from tests.moves.whole.journeys import begin, begin_back, move_of
from tests.moves.whole.steady import assert_served
from tests.platform.conftest import requires_root
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest, running_platform
from tests.provisioning.workers import control
from tests.small_disk import NO_SPACE, give_room, small_disk, take_room
from tests.waiting import until

pytestmark = [pytest.mark.slow, requires_root]

MESSAGES, LETTERS = 10, 20_000
"""More than the free places in pages that are there already."""


@pytest.fixture(scope="module")
def tight() -> Iterator[PlatformUnderTest]:
    """A platform whose server beta has a small disk of its own."""
    with running_platform() as platform, small_disk(platform, "beta"):
        with control(platform) as connection:
            connection.execute("UPDATE servers SET models = '{pool,bridge,silo}'")
        yield platform


def write_much(tenant: TenantUnderTest) -> None:
    """Large messages that cannot be compressed."""
    begun = tenant.http.post("/api/conversations", json={"subject": "Large"}).json()["id"]
    for _ in range(MESSAGES):
        said = tenant.http.post(f"/api/conversations/{begun}/messages", json={"body": token_hex(LETTERS // 2)})
        assert said.status_code == 201, said.text


def _there(tenant: TenantUnderTest) -> UUID:
    return begin(tenant, Model.BRIDGE, "beta")


def _from_there(tenant: TenantUnderTest) -> UUID:
    return begin(tenant, Model.POOL, "alpha")


def test_the_tenant_stays_or_is_served_where_it_is_until_there_is_room(tight: PlatformUnderTest) -> None:
    stays, back = frozenset({1}), frozenset({3})
    copying, kept = tight.tenant(Model.POOL), tight.tenant(Model.SILO)
    write_much(copying)
    cases = {
        "kept": Case(tenant=kept, phase=Phase.KEPT, begin=_from_there, epochs=back, kept=begin_back),
        "copying": Case(tenant=copying, phase=Phase.COPYING, begin=_there, epochs=stays),
    }
    with held_moves(tight, cases, ["kept"], ["copying"]) as held:
        take_room(tight, "beta")
        held.go_on()
        write_much(kept)
        until(lambda: held.has_failed("copying"), what="it is called off", deadline_s=60)
        until(lambda: "way_back_not_followed" in held.log(), what="nothing flows back", deadline_s=60)
        assert NO_SPACE in str(move_of(tight, held.moves["copying"]).reason)
        assert_served(held.clients.values())
        held.let_go()
        give_room(tight, "beta")
    assert NO_SPACE in str(move_of(tight, held.moves["copying"]).reason)
