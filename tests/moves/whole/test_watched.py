"""What an open move keeps is told while it does, and no longer."""

from __future__ import annotations

import json

import pytest

from control_plane.domain.moving import Phase
from control_plane.domain.tenant import Model
from control_plane.doors import SOCKETS
from control_plane.registry.engine import transaction
from control_plane.registry.move_figures import earlier
from migrations.fleet.run import FleetMigration
from migrations.fleet.wishes import Chosen, Wishes
from tests.moves.whole.journeys import moved, settle, wait_for
from tests.platform_under_test import PlatformUnderTest, copyhold
from tests.waiting import until

pytestmark = pytest.mark.slow


def test_the_slot_by_which_changes_flow_back_is_told_by_metrics_until_it_goes(town: PlatformUnderTest) -> None:
    tenant = town.tenant(Model.POOL)

    def told(name: str) -> float:
        lines = town.control.get("/metrics").text.splitlines()
        # Of a control database that does not answer within a second the metrics tell nothing of moves.
        return float(next((line.rsplit(" ", 1)[1] for line in lines if line.startswith(f"{name} ")), "nan"))

    move = moved(tenant, Model.SILO, "beta")
    until(lambda: told('copyhold_move_slots{server="beta"}') == 1, what="the slot is told of")
    assert told('copyhold_moves{phase="kept"}') == told("copyhold_homes_kept") == 1
    until(lambda: told('copyhold_move_slot_wal_bytes{server="beta"}') > 0, what="and what it keeps")
    settle(tenant)
    wait_for(town, move.id, Phase.DONE)
    until(lambda: told('copyhold_move_slots{server="beta"}') == 0, what="it is gone")
    assert told('copyhold_moves{phase="kept"}') == told("copyhold_homes_kept") == 0
    with transaction(town.engine) as session:
        (took,) = earlier(session, 1)
    assert (took.rows, took.stall_ms) == (move.rows, move.stall_ms)
    assert took.rows > 0
    assert took.seconds * 1000 > took.stall_ms


def test_a_plan_of_the_fleet_names_who_loses_the_way_back(town: PlatformUnderTest) -> None:
    tenant, stays = town.tenant(Model.POOL), town.tenant(Model.POOL)
    move = moved(tenant, Model.SILO)
    fleet = FleetMigration(town.engine, town.estate.chain, SOCKETS)

    def losing(*names: str) -> list[str]:
        wishes = Wishes(to="0001", down=True, only=Chosen(names=names))
        return [way.slug for way in fleet.ways_back_lost(fleet.plan(wishes).steps)]

    # Either end alone is enough, and nobody else's home is any matter.
    home, left = tenant.route.home, stays.route.home
    assert home is not None
    assert left is not None
    assert losing(home.database) == losing(left.database) == losing() == [tenant.slug]
    assert losing(town.tenant(Model.SILO).slug) == []
    assert fleet.ways_back_lost(fleet.plan(Wishes()).steps) == []
    down = ("migrate", "down", "--to", "0001", "--data", str(town.data))
    assert f"{tenant.slug} has moved, and can be had back until" in copyhold(*down).stdout
    assert json.loads(copyhold(*down, "--json").stdout)["ways_back_lost"] == [tenant.slug]
    settle(tenant)
    wait_for(town, move.id, Phase.DONE)
    assert losing() == []
