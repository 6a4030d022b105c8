"""What an open move keeps is told while it does, and no longer."""

from __future__ import annotations

import pytest

from control_plane.domain.moving import Phase
from control_plane.domain.tenant import Model
from tests.moves.whole.journeys import moved, settle, wait_for
from tests.platform_under_test import PlatformUnderTest
from tests.waiting import until

pytestmark = pytest.mark.slow


def test_the_slot_by_which_changes_flow_back_is_told_by_metrics_until_it_goes(town: PlatformUnderTest) -> None:
    tenant = town.tenant(Model.POOL)

    def told(name: str) -> float:
        lines = town.control.get("/metrics").text.splitlines()
        return float(next(line.rsplit(" ", 1)[1] for line in lines if line.startswith(f"{name} ")))

    move = moved(tenant, Model.SILO, "beta")
    until(lambda: told('copyhold_move_slots{server="beta"}') == 1, what="the slot is told of")
    assert told('copyhold_moves{phase="kept"}') == told("copyhold_homes_kept") == 1
    until(lambda: told('copyhold_move_slot_wal_bytes{server="beta"}') > 0, what="and what it keeps")
    settle(tenant)
    wait_for(town, move.id, Phase.DONE)
    until(lambda: told('copyhold_move_slots{server="beta"}') == 0, what="it is gone")
    assert told('copyhold_moves{phase="kept"}') == told("copyhold_homes_kept") == 0
