"""Where a new tenant goes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.domain.placement import NoServerError, UnknownServerError, choose_server
from control_plane.domain.server import Server, ServerStatus
from control_plane.domain.tenant import Model
from tests.domain.servers import server


def test_the_emptiest_of_those_that_fit_is_chosen() -> None:
    servers = [server("a"), server("b"), server("c", models=(Model.SILO,))]
    choice = choose_server(servers, {"a": 5, "b": 4, "c": 0}, Model.POOL)
    assert choice.server.name == "b"
    assert choice.reason == "2 of 3 servers fit; b has room for 6"


def test_room_counts_by_share_and_names_settle_a_draw() -> None:
    servers = [server("small", capacity=10), server("large", capacity=100)]
    assert choose_server(servers, {"small": 5, "large": 40}, Model.POOL).server.name == "large"
    assert choose_server(servers, {}, Model.POOL).server.name == "large"
    assert choose_server(reversed(servers), {}, Model.POOL).server.name == "large"


def test_a_region_and_a_name_narrow_the_choice() -> None:
    servers = [server("a", region="eu"), server("b", region="us")]
    assert choose_server(servers, {"b": 9}, Model.POOL, region="us").server.name == "b"
    assert choose_server(servers, {"b": 9}, Model.POOL, named="b").server.name == "b"


def test_an_unknown_name_is_a_wrong_input_and_not_a_lack_of_room() -> None:
    with pytest.raises(UnknownServerError):
        choose_server([server("a")], {}, Model.POOL, named="b")


@pytest.mark.parametrize(
    ("changes", "load", "objection"),
    [
        ({"models": (Model.SILO,)}, 0, "a: takes no pool tenants"),
        ({"region": "us"}, 0, "a: is in us"),
        ({"status": ServerStatus.DRAINING}, 0, "a: is draining"),
        ({}, 10, "a: is full (10 tenants)"),
    ],
)
def test_who_cannot_be_placed_is_told_why(changes: dict[str, object], load: int, objection: str) -> None:
    servers = [replace(server("a"), **changes)]  # type: ignore[arg-type]
    with pytest.raises(NoServerError, match=objection.replace("(", r"\(").replace(")", r"\)")):
        choose_server(servers, {"a": load}, Model.POOL, region="eu")


def test_without_servers_that_is_what_is_told() -> None:
    with pytest.raises(NoServerError, match="there are no servers"):
        choose_server([], {}, Model.POOL)


SERVERS = st.lists(
    st.builds(
        server,
        st.sampled_from("abcdef"),
        models=st.sets(st.sampled_from(Model)).map(tuple),
        capacity=st.integers(1, 5),
        status=st.sampled_from(ServerStatus),
    ),
    unique_by=lambda each: each.name,
)


@given(SERVERS, st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 6)), st.sampled_from(Model))
def test_a_server_is_chosen_exactly_when_one_fits(servers: list[Server], load: dict[str, int], model: Model) -> None:
    fitting = [
        each.name
        for each in servers
        if model in each.models and each.status is ServerStatus.ACTIVE and load.get(each.name, 0) < each.capacity
    ]
    try:
        assert choose_server(servers, load, model).server.name in fitting
    except NoServerError:
        assert not fitting
