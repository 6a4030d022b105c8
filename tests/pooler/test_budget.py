"""A server's connections are shared out: the pooler asks for no more than there are, wherever that is possible."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from control_plane.domain.budget import SHARED_POOL_MAX, SILO_POOL_MAX, Entry, share_out
from control_plane.domain.server import Server
from control_plane.domain.tenant import Model
from tests.domain.servers import server

NAMES = ("a", "b")
servers = st.tuples(*(st.builds(server, st.just(name), connections=st.integers(1, 300)) for name in NAMES))


@st.composite
def entries(draw: st.DrawFn) -> list[Entry]:
    """Databases of all models on both servers."""
    kinds = draw(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(Model)), max_size=120))
    return [Entry(alias=f"d{n}", server=name, model=model) for n, (name, model) in enumerate(kinds)]


@given(servers, entries())
def test_everybody_gets_one_and_nobody_more_than_its_model_may_have(
    known: tuple[Server, ...], wanted: list[Entry]
) -> None:
    sizes = share_out(known, wanted).pool_sizes
    assert sizes.keys() == {entry.alias for entry in wanted}
    for entry in wanted:
        assert 1 <= sizes[entry.alias] <= (SILO_POOL_MAX if entry.model is Model.SILO else SHARED_POOL_MAX)


@given(servers, entries())
def test_nothing_is_oversubscribed_where_there_is_one_for_everybody(
    known: tuple[Server, ...], wanted: list[Entry]
) -> None:
    budget = share_out(known, wanted)
    for each in known:
        here = [entry for entry in wanted if entry.server == each.name]
        if len(here) <= each.connections:
            assert sum(budget.pool_sizes[entry.alias] for entry in here) <= each.connections
            assert budget.subscribed[each.name] <= 1


@given(st.data(), servers, entries())
def test_the_order_makes_no_difference(data: st.DataObject, known: tuple[Server, ...], wanted: list[Entry]) -> None:
    shuffled = share_out(data.draw(st.permutations(known)), data.draw(st.permutations(wanted)))
    assert shuffled == share_out(known, wanted)
