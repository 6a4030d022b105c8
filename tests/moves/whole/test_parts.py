"""A part of the platform is started anew, or is gone for a while, when there is a move in every phase.

One home, everything promised, nothing left over, and whoever can be served is served meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from uuid import UUID

import pytest

from control_plane.domain.moving import ENDED, RULES, Phase, Way
from control_plane.domain.tenant import Model
from tests.moves.whole.held import Case, Held, held_moves
from tests.moves.whole.journeys import AT_ONCE, begin, begin_back, cancel, fences_of, settle, wait_for
from tests.moves.whole.steady import assert_served
from tests.parts import POOLER, REDIS, stop
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest
from tests.waiting import until

pytestmark = pytest.mark.slow

SOURCE, TARGET, CONTROL = "alpha", "beta", "control"
SERVING = (SOURCE, TARGET, CONTROL)
ANEW = ((SOURCE, TARGET), (CONTROL,))
"""What is started anew at once; each alone is gone for a while as well."""
PHASES = tuple(phase for phase in Phase if phase not in ENDED)
LAST = (Phase.FREEZING, Phase.COPYING)
"""The one keeps a client waiting, the other a transaction open, for which every new slot waits."""
Begin = Callable[[TenantUnderTest, Model], UUID]


def _there(tenant: TenantUnderTest, model: Model) -> UUID:
    return begin(tenant, model, TARGET)


def _there_and_back(tenant: TenantUnderTest, model: Model) -> UUID:
    wait_for(tenant.platform, begin(tenant, model, TARGET), Phase.KEPT)
    return begin_back(tenant)


def _off(tenant: TenantUnderTest, model: Model) -> UUID:
    move_id = begin(tenant, model, TARGET)
    cancel(tenant)
    return move_id


def _for_good(tenant: TenantUnderTest, model: Model) -> UUID:
    return begin(tenant, model, TARGET, window=AT_ONCE)


OFF_OR_THERE, THERE, STAYED_OR_BACK, BACK = map(frozenset, ({1, 2}, {2}, {2, 3}, {3}))
INTO: Mapping[Phase, tuple[Begin, frozenset[int]]] = {
    Phase.REQUESTED: (_there, OFF_OR_THERE),
    Phase.PREPARING: (_there, OFF_OR_THERE),
    Phase.COPYING: (_there, OFF_OR_THERE),
    Phase.FOLLOWING: (_there, OFF_OR_THERE),
    Phase.FREEZING: (_there, OFF_OR_THERE),
    Phase.SWITCHED: (_there, THERE),
    Phase.KEPT: (_there, BACK),
    Phase.RETURNING: (_there_and_back, STAYED_OR_BACK),
    Phase.RETURNED: (_there_and_back, BACK),
    Phase.CLEANING: (_for_good, THERE),
    Phase.CALLING_OFF: (_off, frozenset({1})),
}
"""How a tenant comes to be in each phase, and at which epochs it may be in the end."""


def one_in_every_phase(town: PlatformUnderTest) -> AbstractContextManager[Held]:
    """With a client each. Whatever ends stays away until the block does."""

    def case(number: int, phase: Phase) -> Case:
        model, (into, epochs) = (Model.BRIDGE, Model.SILO)[number % 2], INTO[phase]
        # One that was kept all the time can be taken back, with all that has changed since.
        kept = begin_back if phase is Phase.KEPT else settle
        tenant = town.tenant(Model.POOL, server=SOURCE)
        return Case(tenant=tenant, phase=phase, begin=lambda tenant: into(tenant, model), epochs=epochs, kept=kept)

    cases = {str(phase): case(number, phase) for number, phase in enumerate(PHASES)}
    return held_moves(town, cases, [name for name in cases if name not in LAST], *([name] for name in LAST))


def test_every_phase_has_a_case() -> None:
    assert set(INTO) == set(PHASES)


@pytest.mark.parametrize("parts", ANEW, ids="-".join)
def test_servers_that_are_started_anew(town: PlatformUnderTest, parts: tuple[str, ...]) -> None:
    with one_in_every_phase(town) as held:
        for part in parts:
            stop(town, part)
        held.go_on()


@pytest.mark.parametrize("part", SERVING)
def test_a_server_that_is_gone_for_a_while(town: PlatformUnderTest, part: str) -> None:
    """Whoever has a home that answers is served, whatever is to become of its move."""
    with one_in_every_phase(town) as held:
        stop(town, part)
        held.go_on()
        until(lambda: held.has_failed(Phase.FOLLOWING), what="it is noticed", deadline_s=60)
        stay = [phase for phase in PHASES if RULES[phase].after_crash is Way.BACK and phase is not Phase.RETURNING]
        if part != SOURCE:
            assert_served(held.clients[phase] for phase in stay)


def test_the_pooler_is_gone_for_a_while(town: PlatformUnderTest) -> None:
    """Nobody is reached by way of it: whoever is frozen is thawed, and whoever was on the way stays or is there."""
    with one_in_every_phase(town) as held:
        stop(town, POOLER)
        held.go_on()
        until(lambda: held.has_failed(Phase.FOLLOWING), what="it is noticed", deadline_s=60)
        frozen = held.cases[Phase.FREEZING].tenant
        until(lambda: "frozen" not in {state for _, state in fences_of(frozen).values()}, what="it is thawed")
        until(lambda: all(client.refused for client in held.clients.values()), what="everybody is told to come again")


def test_redis_is_gone_for_a_while(town: PlatformUnderTest) -> None:
    """Nobody needs it for a move: all come to rest meanwhile, and are served."""
    with one_in_every_phase(town) as held:
        stop(town, REDIS)
        held.go_on()
        for name in held.cases:
            held.rests(name)
        assert_served(held.clients.values())
