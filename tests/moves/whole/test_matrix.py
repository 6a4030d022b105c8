"""Whatever is done to a tenant that moves, in each phase of that; and both begun at the same moment, in either order.

What is planted is rolled back: no worker ever sees it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import pytest
from sqlalchemy.orm import Session

from control_plane.domain.errors import CopyholdError
from control_plane.domain.ids import new_id
from control_plane.domain.moving import ENDED, RULES, Phase, Rules
from control_plane.domain.tenant import Model, Status
from control_plane.registry import fleet, moves, servers, tenants, workflow_records
from control_plane.registry.engine import transaction
from control_plane.registry.fleet import FleetBusyError
from control_plane.registry.tables import TenantRow
from control_plane.registry.workflows import TIDY_MOVE, Workflows
from control_plane.tenants import closing, moving, rotating, service
from tests.moves.whole.journeys import end_workflow_of, moved, settle
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest
from tests.provisioning import worker
from tests.provisioning.wishes import NoWorkflows
from tests.provisioning.workers import control, workers_alone
from tests.service_user import as_service_user
from tests.waiting import until

pytestmark = pytest.mark.slow

Deed = Callable[[Workflows, Session, TenantRow], None]
NOBODY = NoWorkflows()
WAIT = "wait until it has arrived, or cancel"
OPEN = [phase for phase in Phase if phase not in ENDED]
BLOCKED = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


def _move(workflows: Workflows, session: Session, row: TenantRow) -> None:
    moving.request(session, workflows, row, "tests", model=Model.SILO)


def _back(workflows: Workflows, session: Session, row: TenantRow) -> None:
    moving.back(session, workflows, row, "tests")


def _cancel(workflows: Workflows, session: Session, row: TenantRow) -> None:
    moving.cancel(session, row, "tests")


def _settle(workflows: Workflows, session: Session, row: TenantRow) -> None:
    moving.settle(session, row, "tests")


def _suspend(workflows: Workflows, session: Session, row: TenantRow) -> None:
    service.suspend(session, workflows, row, "tests")


def _resume(workflows: Workflows, session: Session, row: TenantRow) -> None:
    service.resume(session, workflows, row, "tests")


def _close(workflows: Workflows, session: Session, row: TenantRow) -> None:
    closing.close(session, workflows, row, "tests", grace=timedelta(1), export=False)


def _rotate(workflows: Workflows, session: Session, row: TenantRow) -> None:
    rotating.rotate(session, workflows, row, "tests", shared=True)


def _migrate(workflows: Workflows, session: Session, row: TenantRow) -> None:
    fleet._refuse_while_moving(session)


def _never(phase: Phase, rules: Rules) -> bool:
    return False


def _if_kept(phase: Phase, rules: Rules) -> bool:
    return phase is Phase.KEPT


def _if_not_moving(phase: Phase, rules: Rules) -> bool:
    return not rules.moving


DEEDS: dict[str, tuple[Deed, Callable[[Phase, Rules], bool], str]] = {
    "another move": (_move, _never, "is moved already"),
    "back": (_back, _if_kept, "no home that .* has left is kept"),
    "cancel": (_cancel, lambda phase, rules: rules.can_cancel, "it is too late to cancel: the move of .* is"),
    "settle": (_settle, _if_kept, "the move of .* is"),
    "suspend": (_suspend, _if_not_moving, f"moving cannot become suspended: {WAIT}|arrives suspended: {WAIT}"),
    "resume": (_resume, _if_not_moving, f"is being moved, and arrives suspended: {WAIT}"),
    "close": (_close, _if_not_moving, "is being moved; close it once it has arrived"),
    "rotate": (_rotate, _if_not_moving, "is being moved out of .*, or into it: wait until it has arrived"),
    "run over the fleet": (_migrate, _if_not_moving, "tenants are being moved: .*; wait until they have arrived"),
}
"""What is done, whether it may be, and what whoever does it is told when it may not."""
MEETINGS = [(deed, suspended) for deed in DEEDS for suspended in (False, True) if suspended or deed != "resume"]
"""With whether the tenant that moves is suspended."""


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """The first has moved, and its old home is kept; the two others live in one pool."""

    mover: TenantUnderTest
    one: TenantUnderTest
    other: TenantUnderTest


@pytest.fixture(scope="module")
def neighbours(town: PlatformUnderTest) -> Iterator[Neighbours]:
    """Nobody works."""
    mover, one, other = (town.tenant(Model.POOL, server="alpha") for _ in range(3))
    there = Neighbours(mover=mover, one=one, other=other)
    moved(there.mover, Model.BRIDGE)
    with workers_alone(town):
        for each in (there.mover, there.one, there.other):
            end_workflow_of(town, each.id)
        yield there
        move = settle(there.mover)
        as_service_user(town.data, worker.carry_out, town.settings, move, TIDY_MOVE)


@contextmanager
def undone(town: PlatformUnderTest) -> Iterator[Session]:
    """A transaction that is rolled back."""
    with Session(town.engine, expire_on_commit=False) as session:
        try:
            yield session
        finally:
            session.rollback()


@pytest.mark.parametrize("phase", OPEN, ids=str)
@pytest.mark.parametrize(("deed", "suspended"), MEETINGS)
def test_what_meets_a_move_is_done_or_refused_as_its_phase_says(
    town: PlatformUnderTest, neighbours: Neighbours, deed: str, phase: Phase, *, suspended: bool
) -> None:
    act, may_be_done, said = DEEDS[deed]
    mover = neighbours.mover
    with undone(town) as session:
        tenant = tenants.get(session, mover.id, lock=True)
        move = moves.open_of(session, mover.id, lock=True)
        assert move is not None
        move.phase = str(phase)
        served = Status.MOVING if RULES[phase].moving else Status.ACTIVE
        tenant.status = str(Status.SUSPENDED if suspended else served)
        session.flush()
        if may_be_done(phase, RULES[phase]):
            act(NOBODY, session, tenant)
        else:
            with pytest.raises(CopyholdError, match=said):
                act(NOBODY, session, tenant)


@contextmanager
def _put_right(town: PlatformUnderTest, one: TenantUnderTest) -> Iterator[None]:
    """Take back what was begun, whichever it was."""
    try:
        yield
    finally:
        with transaction(town.engine) as session:
            move = moves.open_of(session, one.id)
            if move is not None:
                moving.cancel(session, tenants.get(session, one.id, lock=True), "tests")
            home = tenants.current_home(session, one.id)
            assert home is not None
            database = servers.database(session, home.database_id)
            database.next_login = None
            for workflow_id in rotating.login_changes(session, database.id):
                workflow_records.ended(session, workflow_id)
        if move is not None:
            as_service_user(town.data, worker.carry_out, town.settings, move.id, TIDY_MOVE)
            end_workflow_of(town, one.id)


@pytest.mark.parametrize(("first", "second"), [("another move", "rotate"), ("rotate", "another move")])
def test_of_a_move_and_a_change_of_login_that_begin_at_one_moment_the_second_is_refused(
    town: PlatformUnderTest, neighbours: Neighbours, first: str, second: str
) -> None:
    """The login is that of all in the pool: a neighbour's lock keeps nobody out."""
    whose = {"another move": neighbours.one, "rotate": neighbours.other}

    def do(deed: str, session: Session) -> None:
        DEEDS[deed][0](NOBODY, session, tenants.get(session, whose[deed].id, lock=True))

    def do_second() -> None:
        with transaction(town.engine) as session:
            do(second, session)

    with _put_right(town, neighbours.one), ThreadPoolExecutor(1) as others, control(town) as watcher:
        with transaction(town.engine) as session:
            do(first, session)
            session.flush()
            late = others.submit(do_second)
            until(lambda: late.done() or watcher.execute(BLOCKED).fetchone() == (1,), what="the second waits")
            assert not late.done()
        with pytest.raises(CopyholdError, match=r"is being (moved|changed)"):
            late.result()


def test_no_run_over_the_fleet_begins_before_a_move_that_is_asked_for_is_on_record(
    town: PlatformUnderTest, neighbours: Neighbours
) -> None:
    with undone(town) as session:
        _move(NOBODY, session, tenants.get(session, neighbours.one.id, lock=True))
        with pytest.raises(FleetBusyError), fleet.holding_fleet(town.engine, new_id()):
            pass
    with fleet.holding_fleet(town.engine, new_id()):
        pass
