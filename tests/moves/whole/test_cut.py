"""The network to a server is cut without a word while tenants move there and from there, and mended again."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import pytest

from control_plane.domain.moving import Phase
from control_plane.domain.tenant import Model
from provisioning.losing import give_up
from tests.moves.whole.held import Case, held_moves
from tests.moves.whole.journeys import AT_ONCE, begin, begin_back, settle
from tests.moves.whole.steady import assert_served
from tests.platform_under_test import TenantUnderTest
from tests.servers.apart import Apart, apart
from tests.servers.far import NAME, Far, far_platform
from tests.waiting import until

pytestmark = pytest.mark.slow

OFF_OR_THERE, THERE, BACK = frozenset({1, 2}), frozenset({2}), frozenset({3})
NOTICED_S = 60.0
"""Twice as long as the network may say nothing."""
UNSEEN = frozenset({NAME})
"""It is reached with the certificates of whoever runs the tests, whom the doctor is not; or it is gone."""
SLOTS = "SELECT slot_name FROM pg_replication_slots WHERE slot_name = ANY (%s)"


@pytest.fixture(scope="module")
def network() -> Iterator[Apart]:
    with apart() as made:
        yield made


@pytest.fixture(scope="module")
def far(network: Apart) -> Iterator[Far]:
    with far_platform(network) as made:
        yield made


def there(tenant: TenantUnderTest) -> UUID:
    return begin(tenant, Model.BRIDGE, NAME)


def there_for_good(tenant: TenantUnderTest) -> UUID:
    """No slot is made in the new home, which would wait for whoever is held in the midst of a copy."""
    return begin(tenant, Model.BRIDGE, NAME, window=AT_ONCE)


def from_there(tenant: TenantUnderTest) -> UUID:
    return begin(tenant, Model.POOL, "alpha", window=AT_ONCE)


def from_there_for_a_while(tenant: TenantUnderTest) -> UUID:
    return begin(tenant, Model.POOL, "alpha")


def _by_itself(_: TenantUnderTest) -> None:
    """Its old home goes at once."""


def test_a_network_that_is_cut_without_a_word(far: Far, network: Apart) -> None:
    """Nobody who can be served waits for it; afterwards all is as if it had been a restart."""
    near = {
        Phase.SWITCHED: (there, THERE),
        Phase.FOLLOWING: (there, OFF_OR_THERE),
        Phase.COPYING: (there_for_good, OFF_OR_THERE),
        Phase.FREEZING: (there_for_good, OFF_OR_THERE),
    }
    cases = {
        f"{phase} there": Case(
            tenant=far.platform.tenant(Model.POOL),
            phase=phase,
            begin=into,
            epochs=epochs,
            kept=settle if into is there else _by_itself,
        )
        for phase, (into, epochs) in near.items()
    }
    for phase in (Phase.FOLLOWING, Phase.FREEZING):
        cases[f"{phase} from there"] = Case(
            tenant=far.tenant(Model.BRIDGE), phase=phase, begin=from_there, epochs=OFF_OR_THERE, kept=_by_itself
        )
    # With all that they have done since, in the home that was cut off, or while the other one was.
    for name, tenant, into in (
        (f"{Phase.KEPT} there", far.platform.tenant(Model.POOL), there),
        (away := f"{Phase.KEPT} from there", far.tenant(Model.BRIDGE), from_there_for_a_while),
    ):
        cases[name] = Case(tenant=tenant, phase=Phase.KEPT, begin=into, epochs=BACK, kept=begin_back)
    first = [name for name in cases if name.startswith((Phase.SWITCHED, Phase.FOLLOWING, Phase.KEPT))]
    # Whoever is held in the midst of a copy keeps a transaction open there, for which every new slot waits.
    others = [f"{Phase.FREEZING} from there", f"{Phase.COPYING} there", last := f"{Phase.FREEZING} there"]
    with held_moves(far.platform, cases, first, *([name] for name in others), unseen=UNSEEN) as held:
        waited = held.clients[last].refused
        network.cut()
        try:
            held.go_on()
            assert_served(held.clients[name] for name in (last, away))
            assert held.clients[last].refused == waited, "it was frozen for longer than its requests wait"
            slots = [f"mv_{case.tenant.id.hex}" for name, case in cases.items() if name.endswith(" there")]
            with far.platform.superuser("alpha", "postgres") as alpha:
                until(lambda: not alpha.execute(SLOTS, [slots]).fetchall(), what="it is noticed", deadline_s=NOTICED_S)
        finally:
            network.mend()


def test_a_server_that_is_gone_for_good_is_given_up(far: Far) -> None:
    """What was to be there, and what was left there, is struck off; nobody else is touched."""
    near, away, stays = far.platform.tenant(Model.POOL), far.tenant(Model.BRIDGE), frozenset({1})
    cases = {
        "there": Case(tenant=near, phase=Phase.FOLLOWING, begin=there, epochs=stays),
        "from there": Case(tenant=away, phase=Phase.KEPT, begin=from_there_for_a_while, epochs=THERE),
    }
    with held_moves(far.platform, cases, list(cases), unseen=UNSEEN) as held:
        far.remote.stop()
        del far.platform.others[NAME]
        held.go_on()
        until(lambda: held.has_failed("there"), what="it is noticed", deadline_s=NOTICED_S)
        assert_served(held.clients.values())
        assert give_up(far.platform.estate, far.platform.workflows, NAME, "tests")
