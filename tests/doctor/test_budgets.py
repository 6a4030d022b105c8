"""How many connections the doctor reckons with on a server: as many as the pooler may come to hold there."""

from __future__ import annotations

import pytest

from control_plane.domain.ids import new_id
from control_plane.domain.tenant import Model
from control_plane.registry.fleet import Revisions
from control_plane.registry.servers import GOING, READY, WARM
from provisioning.doctor.roll import Roll, RollDatabase
from tests.domain.servers import server


def silo(number: int, state: str, on: str = "beta") -> RollDatabase:
    return RollDatabase(
        id=new_id(),
        server=on,
        name=f"silo_{number}",
        model=Model.SILO,
        home_revision="h0001",
        targets={},
        logins=(f"silo_{number}",),
        state=state,
    )


@pytest.mark.parametrize(
    ("room", "states", "reckoned"),
    [
        (4, [READY] * 3, 4),
        (4, [READY] * 7, 7),
        (4, [READY] * 5 + [WARM] * 2, 7),
        (4, [READY] * 4 + [GOING] * 3, 4),
    ],
)
def test_every_database_that_is_served_is_reckoned_with_one_connection(
    room: int, states: list[str], reckoned: int
) -> None:
    """Each entry of the pooler gets one, whatever the room: a server that takes fewer runs out of them."""
    here = [silo(number, state) for number, state in enumerate(states)]
    roll = Roll(
        servers=(),
        databases=(*here, *(silo(number, READY, on="gamma") for number in range(9))),
        homes=(),
        wanted=Revisions(home="h0001", tenant="0001"),
        stuck=(),
        failed=(),
    )
    assert roll.connections_to(server("beta", connections=room)) == reckoned
