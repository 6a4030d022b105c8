"""Whoever moves a tenant may be killed at any moment: before the switch all begins anew or goes back, then it ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import count
from uuid import UUID

import psycopg
import pytest

from control_plane.domain.ids import new_id
from control_plane.domain.moving import ENDED, PASSED, RULES, Phase, Way
from control_plane.domain.tenant import Model, Status
from control_plane.registry import tenants
from control_plane.registry.engine import transaction
from control_plane.registry.workflows import MOVE, MOVE_BACK, TIDY_MOVE
from control_plane.tenants import service
from provisioning.moves.slots import forward_name
from provisioning.moves.trips import end_of, read
from provisioning.steps import SEQUENCES
from tests.moves.whole.journeys import (
    AT_ONCE,
    assert_one_home,
    begin,
    begin_back,
    cancel,
    end_workflow_of,
    epoch_of,
    fences_of,
    home_of,
    move_of,
    settle,
)
from tests.moves.whole.moments import carry_out_until_phase
from tests.moves.whole.traffic import assert_nothing_lost, refused_all_along, traffic_of
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest
from tests.provisioning import worker
from tests.provisioning.wishes import NoWorkflows
from tests.provisioning.workers import workers_alone
from tests.service_user import as_service_user, killed_as_service_user

pytestmark = pytest.mark.slow

FURTHER = 23
"""By so many statements does the next one come further."""


ENTERED_BY = {
    MOVE: (Phase.PREPARING, Phase.COPYING, Phase.FOLLOWING, Phase.FREEZING, Phase.SWITCHED, Phase.KEPT),
    MOVE_BACK: (Phase.RETURNED, Phase.CLEANING),
    TIDY_MOVE: (Phase.DONE, Phase.CALLING_OFF, Phase.CALLED_OFF),
}
"""By workflow, in their order; the two others come with a wish."""
RETURNED = {Phase.RETURNED, Phase.CLEANING, Phase.DONE}
"""To these a move comes here on its way back."""
TIDIED = 3
"""Times: whoever finds nothing to do does nothing."""


@dataclass(frozen=True, kw_only=True)
class Travellers:
    """Tenants that each test moves on from where the one before has left them."""

    one: TenantUnderTest
    """Out of a pool, or into one."""
    others: Mapping[Model, TenantUnderTest]
    """There and back."""
    suspended: TenantUnderTest
    """Out of a pool, or into one, of the same server, and never let in."""


@pytest.fixture(scope="module")
def travellers(town: PlatformUnderTest) -> Iterator[Travellers]:
    """Nobody moves them but the processes that a test starts."""
    homes = (Model.POOL, Model.BRIDGE)
    there = Travellers(
        one=town.tenant(Model.POOL),
        others={model: town.tenant(model) for model in homes},
        suspended=town.tenant(Model.POOL, server="alpha"),
    )
    with workers_alone(town):
        with transaction(town.engine) as session:
            service.suspend(session, NoWorkflows(), tenants.get(session, there.suspended.id, lock=True), "tests")
        as_service_user(town.data, worker.step, town.settings, there.suspended.id, "suspend_fence")
        yield there


@pytest.fixture
def traveller(town: PlatformUnderTest, travellers: Travellers) -> TenantUnderTest:
    """The one; nothing else is done to it."""
    end_workflow_of(town, travellers.one.id)
    return travellers.one


@pytest.fixture
def others(town: PlatformUnderTest, travellers: Travellers) -> Mapping[Model, TenantUnderTest]:
    """The others; nothing else is done to them."""
    for each in travellers.others.values():
        end_workflow_of(town, each.id)
    return travellers.others


@pytest.fixture
def suspended(town: PlatformUnderTest, travellers: Travellers) -> TenantUnderTest:
    """The one that is suspended; nothing else is done to it."""
    end_workflow_of(town, travellers.suspended.id)
    return travellers.suspended


def _elsewhere(tenant: TenantUnderTest) -> Model:
    return Model.BRIDGE if home_of(tenant)[0] is Model.POOL else Model.POOL


def _killed_at(town: PlatformUnderTest, move_id: UUID, kind: str, phase: Phase) -> bool:
    """Whether it was, as soon as the move was on record in that phase; else it came to the workflow's end."""
    return killed_as_service_user(town.data, carry_out_until_phase, town.settings, move_id, kind, phase)


@contextmanager
def _cut_off_late(town: PlatformUnderTest, move_id: UUID) -> Iterator[None]:
    """A session of the killed one's at each end, which has written something: within the block all are ended."""
    with transaction(town.engine) as session:
        trip = read(session, move_id)
    ends = [place for place in (trip.source, trip.target) if place is not None and not place.to_be_made]
    late = [end_of(town.estate, place).connect() for place in ends]
    try:
        for connection in late:
            connection.execute("BEGIN")
            connection.execute("INSERT INTO tenancy.streams VALUES (%s, '0/0')", [forward_name(new_id())])
        yield
        for connection in late:
            with pytest.raises(psycopg.OperationalError):
                connection.execute("COMMIT")
    finally:
        for connection in late:
            connection.close()


def _left_in(tenant: TenantUnderTest, phase: Phase, server: str | None = None) -> UUID:
    """A move whose worker was killed as soon as it was in that phase, there or back; it must come by it."""
    town, move_id = tenant.platform, begin(tenant, _elsewhere(tenant), server)
    if phase is Phase.REQUESTED:
        return move_id
    if phase in {Phase.CALLING_OFF, Phase.CALLED_OFF}:
        cancel(tenant)
        assert _killed_at(town, move_id, TIDY_MOVE, phase)
        return move_id
    if phase in ENTERED_BY[MOVE]:
        assert _killed_at(town, move_id, MOVE, phase)
        return move_id
    as_service_user(town.data, worker.carry_out, town.settings, move_id, MOVE)
    begin_back(tenant)
    if phase is not Phase.RETURNING:
        assert any(_killed_at(town, move_id, kind, phase) for kind in (MOVE_BACK, TIDY_MOVE))
    return move_id


def _tidied(town: PlatformUnderTest, move_id: UUID) -> Phase:
    as_service_user(town.data, worker.carry_out, town.settings, move_id, TIDY_MOVE, TIDIED)
    return Phase(move_of(town, move_id).phase)


def test_there_is_no_phase_in_which_nobody_is_killed_here() -> None:
    entered = {phase for phases in ENTERED_BY.values() for phase in phases}
    assert entered | {Phase.REQUESTED, Phase.RETURNING} == set(Phase)


@pytest.mark.parametrize("phase", Phase, ids=str)
def test_a_worker_is_killed_in_every_phase_and_whoever_tidies_up_takes_it_where_that_leads(
    town: PlatformUnderTest, traveller: TenantUnderTest, phase: Phase
) -> None:
    was, target, epoch = home_of(traveller)[0], _elsewhere(traveller), epoch_of(traveller)
    with traffic_of(traveller) as traffic:
        move_id = _left_in(traveller, phase)
        assert move_of(town, move_id).phase == phase
        passed = phase in PASSED
        with nullcontext() if phase in ENDED else _cut_off_late(town, move_id):
            ended = _tidied(town, move_id)
            if passed and phase not in RETURNED:
                assert ended is Phase.KEPT
                settle(traveller)
                ended = _tidied(town, move_id)
    assert ended is (Phase.DONE if passed else Phase.CALLED_OFF)
    assert passed or RULES[phase].after_crash is not Way.FORWARD
    # It was compared before the switch: nobody can be cut off in the midst of that.
    assert not passed or phase in RETURNED or move_of(town, move_id).verified
    assert_nothing_lost(traveller, traffic)
    lives_in, switches = (was, 2) if phase in RETURNED else (target, 1) if passed else (was, 0)
    assert_one_home(traveller, lives_in, epoch + switches)


@pytest.mark.parametrize("target", [Model.SILO, Model.BRIDGE], ids=str)
def test_one_worker_after_the_other_is_killed_in_each_phase_and_the_last_ends_it(
    town: PlatformUnderTest, others: Mapping[Model, TenantUnderTest], target: Model
) -> None:
    tenant = others[Model.POOL]
    epoch = epoch_of(tenant)
    with traffic_of(tenant) as traffic:
        move_id = begin(tenant, target)
        with ExitStack() as before:
            for kind, phases in (ENTERED_BY | {TIDY_MOVE: (Phase.DONE,)}).items():
                if kind == MOVE_BACK:
                    begin_back(tenant)
                for phase in phases:
                    assert _killed_at(town, move_id, kind, phase), phase
                    before.close()
                    if phase is not Phase.DONE:
                        before.enter_context(_cut_off_late(town, move_id))
    assert_nothing_lost(tenant, traffic)
    assert_one_home(tenant, Model.POOL, epoch + 2)


def _is_let_in_nowhere(tenant: TenantUnderTest) -> bool:
    return "open" not in {state for _, state in fences_of(tenant).values()}


def test_a_suspended_tenant_is_let_in_nowhere_whoever_is_killed(
    town: PlatformUnderTest, suspended: TenantUnderTest
) -> None:
    was, epoch = home_of(suspended)[0], epoch_of(suspended)
    with refused_all_along(suspended):
        move_id = begin(suspended, _elsewhere(suspended), "alpha")
        for phase in (Phase.FREEZING, Phase.SWITCHED, Phase.KEPT):
            assert _killed_at(town, move_id, MOVE, phase), phase
            assert _is_let_in_nowhere(suspended), phase
        begin_back(suspended)
        for phase in ENTERED_BY[MOVE_BACK]:
            assert _killed_at(town, move_id, MOVE_BACK, phase), phase
            assert _is_let_in_nowhere(suspended), phase
        assert _killed_at(town, move_id, TIDY_MOVE, Phase.DONE)
    assert_one_home(suspended, was, epoch + 2, status=Status.SUSPENDED)


@pytest.mark.parametrize("phase", [Phase.FREEZING, Phase.SWITCHED, Phase.RETURNING], ids=str)
def test_whoever_tidies_up_leaves_a_suspended_tenant_suspended(
    town: PlatformUnderTest, suspended: TenantUnderTest, phase: Phase
) -> None:
    was, target, epoch = home_of(suspended)[0], _elsewhere(suspended), epoch_of(suspended)
    with refused_all_along(suspended):
        move_id = _left_in(suspended, phase, "alpha")
        if _tidied(town, move_id) is Phase.KEPT:
            settle(suspended)
            assert _tidied(town, move_id) is Phase.DONE
    passed = phase in PASSED
    assert_one_home(suspended, target if passed else was, epoch + passed, status=Status.SUSPENDED)


def _killed_ever_later(town: PlatformUnderTest, move_id: UUID, kind: str, first: int) -> int:
    """How many were killed before one came to the end."""
    for killed, number in enumerate(count(first, FURTHER)):
        work = worker.carry_out_until_statement
        if not killed_as_service_user(town.data, work, town.settings, move_id, kind, number):
            return killed
    raise AssertionError


@pytest.mark.parametrize(("source", "target", "first"), [(Model.POOL, Model.SILO, 5), (Model.BRIDGE, Model.POOL, 16)])
def test_those_who_come_after_bring_it_there(
    town: PlatformUnderTest, others: Mapping[Model, TenantUnderTest], source: Model, target: Model, first: int
) -> None:
    tenant = others[source]
    with traffic_of(tenant) as traffic:
        move_id = begin(tenant, target)
        assert _killed_ever_later(town, move_id, MOVE, first) > 5
        assert move_of(town, move_id).phase == Phase.KEPT
        begin_back(tenant)
        assert _killed_ever_later(town, move_id, MOVE_BACK, first) > 2
        assert move_of(town, move_id).phase == Phase.CLEANING
        assert _killed_ever_later(town, move_id, TIDY_MOVE, first) > 0
        assert move_of(town, move_id).phase == Phase.DONE
    assert_nothing_lost(tenant, traffic)
    assert_one_home(tenant, source, epoch_of(tenant))


@pytest.mark.parametrize("number", [9, 40, 75, 110, 150, 190])
def test_whoever_tidies_up_does_so_wherever_in_a_phase_it_was_killed(
    town: PlatformUnderTest, traveller: TenantUnderTest, number: int
) -> None:
    was, target, epoch = home_of(traveller)[0], _elsewhere(traveller), epoch_of(traveller)
    with traffic_of(traveller) as traffic:
        move_id = begin(traveller, target, window=AT_ONCE)
        assert killed_as_service_user(town.data, worker.carry_out_until_statement, town.settings, move_id, MOVE, number)
        passed = Phase(move_of(town, move_id).phase) in PASSED
        ended = _tidied(town, move_id)
    assert_nothing_lost(traveller, traffic)
    assert_one_home(traveller, target if passed else was, epoch + passed)
    assert ended is (Phase.DONE if passed else Phase.CALLED_OFF)


def test_a_worker_that_comes_back_from_the_dead_does_nothing_to_a_move_that_has_ended(
    town: PlatformUnderTest, traveller: TenantUnderTest
) -> None:
    """It was called off by another, and the tenant has moved to that very place since."""
    target, epoch = _elsewhere(traveller), epoch_of(traveller)
    dead = begin(traveller, target)
    as_service_user(town.data, worker.step, town.settings, dead, "prepare_target")
    cancel(traveller)
    assert _tidied(town, dead) is Phase.CALLED_OFF
    end_workflow_of(town, traveller.id)
    with traffic_of(traveller) as traffic:
        begun = begin(traveller, target)
        as_service_user(town.data, worker.carry_out, town.settings, begun, MOVE)
        for step in SEQUENCES[MOVE][2:] + SEQUENCES[MOVE_BACK]:
            as_service_user(town.data, worker.step, town.settings, dead, step.__name__)
    assert move_of(town, dead).phase == Phase.CALLED_OFF
    assert_nothing_lost(traveller, traffic)
    settle(traveller)
    assert _tidied(town, begun) is Phase.DONE
    assert_one_home(traveller, target, epoch + 1)
