"""How servers' connections are shared out among pooler entries."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from control_plane.domain.budget import SHARED_POOL_MAX, SILO_POOL_MAX, Budget, Entry, share_out
from control_plane.domain.ids import new_id
from control_plane.domain.tenant import Model
from tests.domain.servers import server


def shared(connections: int, *, pools: int = 0, silos: int = 0) -> tuple[Budget, list[int], list[int]]:
    """The budget of one server, with the sizes of its pools and of its silos."""
    entries = [Entry(alias=str(new_id()), server="a", model=Model.POOL) for _ in range(pools)]
    entries += [Entry(alias=str(new_id()), server="a", model=Model.SILO) for _ in range(silos)]
    budget = share_out([server("a", connections=connections)], entries)
    sizes = [budget.pool_sizes[entry.alias] for entry in entries]
    return budget, sizes[:pools], sizes[pools:]


def test_a_lone_pool_takes_what_a_pool_may_take() -> None:
    assert shared(100, pools=1)[1] == [SHARED_POOL_MAX]
    assert shared(20, pools=1)[1] == [20]


def test_pools_leave_silos_their_part() -> None:
    _, pools, silos = shared(100, pools=2, silos=10)
    assert (pools, silos) == ([25, 25], [5] * 10)


def test_few_silos_get_what_a_silo_may_take() -> None:
    assert shared(100, silos=2)[2] == [SILO_POOL_MAX, SILO_POOL_MAX]


def test_many_silos_oversubscribe_and_that_is_told() -> None:
    budget, _, silos = shared(100, silos=300)
    assert silos == [1] * 300
    assert budget.subscribed["a"] == 3.0


def test_servers_do_not_share_with_each_other() -> None:
    entries = [Entry(alias=str(new_id()), server=name, model=Model.POOL) for name in ("a", "a", "b")]
    budget = share_out([server("a", connections=10), server("b", connections=10), server("c")], entries)
    assert [budget.pool_sizes[entry.alias] for entry in entries] == [5, 5, 10]
    assert budget.subscribed == {"a": 1.0, "b": 1.0, "c": 0.0}


@given(st.integers(1, 500), st.integers(0, 8), st.integers(0, 600))
def test_everybody_gets_one_and_nobody_more_than_there_is(connections: int, pools: int, silos: int) -> None:
    budget, pool_sizes, silo_sizes = shared(connections, pools=pools, silos=silos)
    assert all(1 <= size <= SHARED_POOL_MAX for size in pool_sizes)
    assert all(1 <= size <= SILO_POOL_MAX for size in silo_sizes)
    # A server is oversubscribed only where somebody is down to the one connection that everybody gets.
    assert budget.subscribed["a"] <= 1 or 1 in pool_sizes + silo_sizes
