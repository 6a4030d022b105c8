"""The point of no return of a move: all of it or nothing, in two round trips."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest
from sqlalchemy import bindparam, select, text
from sqlalchemy.exc import InvalidRequestError

from control_plane.domain.ids import new_id
from control_plane.domain.moving import Phase
from control_plane.domain.tenant import Model
from control_plane.registry import moves, servers, tenants
from control_plane.registry.engine import ControlDatabaseError, Together, driver_of, transaction
from control_plane.registry.moves import CURRENT, FILLING, KEPT, Held
from control_plane.registry.switching import Found, Switch, switched
from control_plane.registry.tables import HomeRow, MoveRow, RouteRow
from tests.registry.roll import ACTOR, Roll
from tests.round_trips import counted_round_trips

BY_EPOCH = {"of that epoch": 1, "of a later one": 2}


@pytest.fixture
def about_to(roll: Roll) -> Switch:
    """A tenant that is frozen in the pool, with a home that is filled in the bridge."""
    tenant_id = roll.settled()
    with transaction(roll.engine) as session:
        old = tenants.current_home(session, tenant_id)
        assert old is not None
        (bridge,) = servers.databases_of(session, "alpha", Model.BRIDGE)
        schema = f"t_{tenant_id.hex}"
        new = HomeRow(
            id=new_id(), tenant_id=tenant_id, database_id=bridge.id, schema=schema, model="bridge", state=FILLING
        )
        session.add(new)
        session.flush()
        tenants.ensure_target(session, bridge.id, schema, "0001")
        move = MoveRow(
            id=new_id(),
            tenant_id=tenant_id,
            actor=ACTOR,
            source_id=old.id,
            target_id=new.id,
            model="bridge",
            phase=str(Phase.FREEZING),
            epoch=1,
            undo_window_s=0,
            reason="waits for somebody",
        )
        moves.add(session, move)
    return Switch(
        tenant_id=tenant_id,
        move_id=move.id,
        phase=Phase.SWITCHED,
        epoch=1,
        old=old.id,
        new=new.id,
        model=Model.BRIDGE,
        verified=True,
    )


def states(roll: Roll, switch: Switch) -> list[str]:
    """Of the old home and of the new one."""
    with transaction(roll.engine) as session:
        return [session.get_one(HomeRow, home).state for home in (switch.old, switch.new)]


def route_of(roll: Roll, tenant_id: UUID) -> tuple[UUID | None, int]:
    """The home that it leads to, and its epoch."""
    with transaction(roll.engine) as session:
        row = session.get_one(RouteRow, tenant_id)
        return row.home_id, row.epoch


def carried_out(roll: Roll, switch: Switch) -> Found:
    """By somebody who finds nothing wrong."""
    with moves.holding(roll.engine, switch.tenant_id) as held, switched(held, switch) as found:
        return found


def test_a_tenant_is_switched_in_two_round_trips(roll: Roll, about_to: Switch) -> None:
    with (
        moves.holding(roll.engine, about_to.tenant_id) as held,
        counted_round_trips(driver_of(held.connection)) as trips,
    ):
        with switched(held, about_to) as found:
            assert trips() == 1
        assert trips() == 2
    assert found == Found(phase=Phase.FREEZING, cancel_asked=False, same_revision=True, led=True)


def test_all_of_it_is_there_at_once(roll: Roll, about_to: Switch) -> None:
    before = roll.version
    carried_out(roll, about_to)
    assert states(roll, about_to) == [KEPT, CURRENT]
    assert route_of(roll, about_to.tenant_id) == (about_to.new, 2)
    with transaction(roll.engine) as session:
        row, tenant = moves.get(session, about_to.move_id), tenants.get(session, about_to.tenant_id)
        assert (row.phase, row.revision, row.verified, row.reason) == ("switched", "0001", True, None)
        assert row.switched_at is not None
        assert tenant.model == Model.BRIDGE
    assert roll.changed(before) == {about_to.tenant_id}


def test_on_the_way_back_the_revision_stays_what_it_was(roll: Roll, about_to: Switch) -> None:
    with transaction(roll.engine) as session:
        moves.get(session, about_to.move_id).revision = "0000"
    carried_out(roll, replace(about_to, phase=Phase.RETURNED, verified=None))
    with transaction(roll.engine) as session:
        row = moves.get(session, about_to.move_id)
        assert (row.phase, row.revision, row.verified) == ("returned", "0000", None)


def refuse(held: Held, switch: Switch) -> None:
    """Be one who finds something wrong."""
    with switched(held, switch) as found:
        raise ValueError(f"the route led there: {found.led}")


@pytest.mark.parametrize("epoch", BY_EPOCH.values(), ids=BY_EPOCH)
def test_nothing_of_it_is_there_when_it_is_not_wanted(roll: Roll, about_to: Switch, epoch: int) -> None:
    with moves.holding(roll.engine, about_to.tenant_id) as held:
        with pytest.raises(ValueError, match=f"led there: {epoch == 1}"):
            refuse(held, replace(about_to, epoch=epoch))
        assert states(roll, about_to) == [CURRENT, FILLING]
        # The lock's connection is as good as before.
        with held.transaction() as session:
            assert moves.get(session, about_to.move_id).phase == Phase.FREEZING


def test_what_stands_against_it_is_told(roll: Roll, about_to: Switch) -> None:
    with transaction(roll.engine) as session:
        moves.get(session, about_to.move_id).cancel_asked = True
        session.execute(text("UPDATE targets SET revision = '0002' WHERE schema <> 'public'"))
    assert carried_out(roll, about_to) == Found(phase=Phase.FREEZING, cancel_asked=True, same_revision=False, led=True)


def test_homes_of_which_one_has_no_revision_are_not_at_the_same(roll: Roll, about_to: Switch) -> None:
    with transaction(roll.engine) as session:
        session.execute(text("DELETE FROM targets WHERE schema <> 'public'"))
    assert not carried_out(roll, about_to).same_revision


def test_a_control_database_that_is_gone_by_then_has_switched_nothing(roll: Roll, about_to: Switch) -> None:
    """It is told as what it is, and whoever was about to may thaw."""
    with moves.holding(roll.engine, about_to.tenant_id) as held:
        pid = driver_of(held.connection).info.backend_pid
        with transaction(roll.engine) as session:
            session.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
        for _ in range(2):
            with pytest.raises(ControlDatabaseError), switched(held, about_to):
                pytest.fail("it went on")
    assert states(roll, about_to) == [CURRENT, FILLING]


def test_a_value_that_is_forgotten_is_no_null(roll: Roll) -> None:
    asks = Together(select(bindparam("this"), bindparam("that")))
    with roll.engine.connect() as connection, pytest.raises(InvalidRequestError, match="'that'"):
        asks.send(connection.execution_options(isolation_level="AUTOCOMMIT"), this="here")
