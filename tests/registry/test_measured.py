"""What databases hold and have to do as the roll has it: transactions a minute, once they were counted twice."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from control_plane.registry import servers
from control_plane.registry.engine import transaction
from control_plane.registry.servers import Measured
from tests.registry.roll import Roll

LONG_AGO = "UPDATE databases SET counted_at = counted_at - interval '1000 minutes'"
KNOWN = """
SELECT (SELECT per_minute FROM servers WHERE name = 'alpha'), per_minute FROM databases WHERE name = 'pool_1'
"""


def measure(roll: Roll, **transactions: int) -> tuple[int | None, int | None]:
    """Have so many been counted; how many a minute alpha and its pool have by then. All counts age a lot afterwards."""
    with transaction(roll.engine) as session:
        found = {name: Measured(bytes=10, transactions=number) for name, number in transactions.items()}
        servers.record_measured(session, "alpha", found)
        whole, pool = session.execute(text(KNOWN)).one()
        session.execute(text(LONG_AGO))
    return whole, pool


def test_a_server_has_what_its_databases_have(roll: Roll) -> None:
    assert measure(roll, pool_1=500, bridge_1=0, others=10**9) == (None, None)
    whole, pool = measure(roll, pool_1=2_000_500, bridge_1=1_000_000, others=2 * 10**9)
    assert pool == pytest.approx(2000, rel=0.01)
    assert whole == pytest.approx(3000, rel=0.01)


def test_what_is_counted_again_at_once_says_nothing(roll: Roll) -> None:
    measure(roll, pool_1=0)
    known = measure(roll, pool_1=1_000_000)
    with transaction(roll.engine) as session:
        session.execute(text("UPDATE databases SET counted_at = now()"))
    assert measure(roll, pool_1=1_000_005) == known
    assert measure(roll, pool_1=1_500_000)[1] == pytest.approx(500, rel=0.01)


def test_a_server_that_counts_from_the_beginning_has_what_was_known(roll: Roll) -> None:
    measure(roll, pool_1=0)
    known = measure(roll, pool_1=1_000_000)
    assert measure(roll, pool_1=7) == known
    assert measure(roll, pool_1=2_000_007)[1] == pytest.approx(2000, rel=0.01)
