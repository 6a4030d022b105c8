"""The server that a tenant moves to is lost for ever: nothing of the move stays in the home that is left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from control_plane.domain.moving import Phase
from control_plane.domain.server import ServerStatus
from control_plane.domain.tenant import Model
from control_plane.registry import servers
from control_plane.registry.engine import transaction
from provisioning.moves.trips import end_of, read
from provisioning.moves.ways import clear_target
from tests.moves.whole.journeys import assert_one_home, moved, settle, traces_of, wait_for
from tests.platform_under_test import PlatformUnderTest

pytestmark = pytest.mark.slow


@contextmanager
def lost(town: PlatformUnderTest, server: str) -> Iterator[None]:
    """For the length of the block it is on the roll as lost; it is there all the time, and serves."""
    try:
        _set_status(town, server, ServerStatus.LOST)
        yield
    finally:
        _set_status(town, server, ServerStatus.ACTIVE)


def _set_status(town: PlatformUnderTest, server: str, status: ServerStatus) -> None:
    with transaction(town.engine) as session:
        servers.set_server_status(session, server, status)


def test_nothing_of_the_way_back_stays_where_it_led(town: PlatformUnderTest) -> None:
    tenant = town.tenant(Model.POOL, server="alpha")
    move = moved(tenant, Model.SILO, "beta")
    assert [each.split()[0] for each in traces_of(tenant).leftovers] == ["progress", "slot", "publication"]
    with lost(town, "beta"):
        settle(tenant)
        wait_for(town, move.id, Phase.DONE)
        # What is lost is not looked for, and in truth is still there.
        assert [each.split()[0] for each in traces_of(tenant).leftovers] == ["slot", "publication"]
    with transaction(town.engine) as session:
        trip = read(session, move.id)
    clear_target(end_of(town.estate, trip.chosen), tenant.id)
    assert_one_home(tenant, Model.SILO, 2)
