"""Where a new tenant goes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.domain.placement import Load, NoServerError, UnknownServerError, Wish, choose_server, consider
from control_plane.domain.server import Catalogue, Server, ServerStatus
from control_plane.domain.tenant import Model, Plan
from tests.domain.servers import server

POOL = Wish(model=Model.POOL, plan=Plan.STARTER)
ROOMY = frozenset({Model.POOL, Model.BRIDGE})


def silo(*labels: str, plan: Plan = Plan.ENTERPRISE, **wish: Any) -> Wish:
    """A silo with these labels."""
    return Wish(model=Model.SILO, plan=plan, labels=labels, **wish)


def held(tenants: int = 0, databases: int = 0, *apart: str, roomy: frozenset[Model] = ROOMY) -> Load:
    """A server that holds so much; pools and bridges there have room, unless told otherwise."""
    return Load(tenants=tenants, databases=databases, apart=frozenset(apart), roomy=roomy)


def chosen(servers: list[Server], loads: dict[str, Load], wish: Wish) -> str:
    """The name of the chosen server."""
    return choose_server(servers, loads, wish).server.name


def test_the_emptiest_of_those_that_fit_is_chosen() -> None:
    servers = [server("a"), server("b"), server("c", models=(Model.SILO,))]
    choice = choose_server(servers, {"a": held(5), "b": held(4), "c": held()}, POOL)
    assert choice.server.name == "b"
    assert choice.reason == "2 of 3 servers fit; b has room for 6"


def test_room_counts_by_share_and_names_settle_a_draw() -> None:
    servers = [server("small", capacity=10), server("large", capacity=100)]
    assert chosen(servers, {"small": held(5), "large": held(40)}, POOL) == "large"
    assert chosen(servers, {}, POOL) == "large"
    assert chosen(servers[::-1], {}, POOL) == "large"


def test_the_fullest_of_tenants_bytes_and_connections_counts() -> None:
    servers = [server("a", capacity_bytes=100, used_bytes=90), server("b")]
    assert chosen(servers, {"a": held(1), "b": held(8)}, POOL) == "b"
    assert chosen(servers, {"a": held(1), "b": held(9, 95)}, silo()) == "a"
    assert chosen(servers, {"a": held(1), "b": held(8, 95)}, POOL) == "b", "a pool with room needs no connection more"


@pytest.mark.parametrize(
    ("found", "accepted", "why"),
    [
        (Catalogue.UNKNOWN, False, "takes silos alone until its catalogue has been looked at"),
        (Catalogue.OPEN, False, "takes silos alone while its catalogue is open"),
        (Catalogue.OPEN, True, ""),
        (Catalogue.CLOSED, False, ""),
    ],
)
@pytest.mark.parametrize("model", list(Model))
def test_tenants_share_no_database_where_the_catalogue_is_open(
    model: Model, found: Catalogue, accepted: bool, why: str
) -> None:
    far = replace(server("far", host="db.example"), catalogue=found, accepts_open_catalogue=accepted)
    wish = Wish(model=model, plan=Plan.STARTER)
    said = " ".join(consider([far], {"far": held()}, wish).objections["far"])
    assert said.partition(":")[0] == ("" if model is Model.SILO else why)
    assert consider([server("here")], {}, wish).choice is not None


def test_a_region_and_a_name_narrow_the_choice() -> None:
    servers = [server("a", region="eu"), server("b", region="us")]
    wish = Wish(model=Model.POOL, plan=Plan.STARTER, region="us")
    assert chosen(servers, {"b": held(9)}, wish) == "b"
    choice = choose_server(servers, {"b": held(9)}, Wish(model=Model.POOL, plan=Plan.STARTER, server="b"))
    assert (choice.server.name, choice.reason) == ("b", "b was asked for, and has room for 1")


def test_an_unknown_name_is_a_wrong_input_and_not_a_lack_of_room() -> None:
    with pytest.raises(UnknownServerError):
        choose_server([server("a")], {}, Wish(model=Model.POOL, plan=Plan.STARTER, server="b"))


@pytest.mark.parametrize(
    ("changes", "load", "objection"),
    [
        ({"models": (Model.POOL,)}, held(), "takes no silo tenants"),
        ({"region": "us"}, held(), "is in us"),
        ({"status": ServerStatus.DRAINING}, held(), "is draining"),
        ({}, held(10), "is full (10 tenants)"),
        ({"capacity_bytes": 7, "used_bytes": 7}, held(), "is full (7 of 7 bytes)"),
        ({"capacity_bytes": 0}, held(), "is full (0 of 0 bytes)"),
        ({"connections": 3}, held(0, 3), "has no connection for one more database (3 for 3 connections)"),
        ({"labels": ("plan-starter", "plan-enterprise")}, held(), "takes only the plan enterprise or starter"),
        ({"labels": ("only-bank",)}, held(), "takes only tenants labelled bank"),
        ({"labels": ("hdd",)}, held(), "is not labelled ssd"),
        ({}, held(1, 1, "apart-twins"), "holds another tenant labelled apart-twins"),
    ],
)
def test_who_cannot_be_placed_is_told_why(changes: dict[str, Any], load: Load, objection: str) -> None:
    wish = silo("on-ssd", "apart-twins", plan=Plan.PROFESSIONAL, region="eu")
    fits = server("a", labels=("ssd",))
    assert chosen([fits], {"a": held()}, wish) == "a"
    with pytest.raises(NoServerError) as refused:
        choose_server([replace(fits, **changes)], {"a": load}, wish)
    assert objection in refused.value.message


def test_every_objection_to_every_server_is_told() -> None:
    servers = [server("b", capacity=1, status=ServerStatus.DRAINING), server("a", models=(Model.POOL,))]
    with pytest.raises(NoServerError) as refused:
        choose_server(servers, {"b": held(1)}, silo())
    assert refused.value.message == (
        "no server can take a silo tenant (a: takes no silo tenants; b: is draining, is full (1 tenants))"
    )


def test_a_rule_of_a_server_lets_in_whom_it_is_for() -> None:
    servers = [server("a", labels=("plan-enterprise", "only-bank")), server("b", capacity=1)]
    assert chosen(servers, {"b": held(1)}, silo("bank")) == "a"
    assert chosen([server("a", labels=("ssd", "eu-west"))], {}, silo("canary", "apart-twins")) == "a"


def test_a_pool_with_room_needs_no_connection_and_a_new_one_does() -> None:
    servers = [server("a", connections=2)]
    assert chosen(servers, {"a": held(5, 2)}, POOL) == "a"
    with pytest.raises(NoServerError, match="no connection for one more database"):
        choose_server(servers, {"a": held(5, 2, roomy=frozenset({Model.BRIDGE}))}, POOL)


def test_without_servers_that_is_what_is_told() -> None:
    with pytest.raises(NoServerError, match="there are no servers"):
        choose_server([], {}, POOL)


WORDS = ("ssd", "bank", "plan-starter", "plan-enterprise", "only-bank")
SERVERS = st.lists(
    st.builds(
        server,
        st.sampled_from("abcdef"),
        models=st.sets(st.sampled_from(Model)).map(tuple),
        capacity=st.integers(0, 4),
        connections=st.integers(0, 4),
        status=st.sampled_from(ServerStatus),
        labels=st.sets(st.sampled_from(WORDS), max_size=2).map(tuple),
        capacity_bytes=st.none() | st.integers(0, 3),
        used_bytes=st.none() | st.integers(0, 3),
    ),
    unique_by=lambda each: each.name,
)
LOADS = st.dictionaries(
    st.sampled_from("abcdef"),
    st.builds(
        Load,
        tenants=st.integers(0, 4),
        databases=st.integers(0, 4),
        roomy=st.frozensets(st.sampled_from([Model.POOL, Model.BRIDGE])),
        apart=st.frozensets(st.sampled_from(["apart-1", "apart-2"])),
    ),
)
WISHES = st.builds(
    Wish,
    model=st.sampled_from(Model),
    plan=st.sampled_from(Plan),
    labels=st.sets(st.sampled_from(["bank", "on-ssd", "apart-1", "apart-2"])).map(tuple),
)


def may_take(each: Server, load: Load, wish: Wish) -> bool:
    """The rules once more, in another form."""
    plans = {label for label in each.labels if label.startswith("plan-")}
    return all(
        (
            wish.model in each.models,
            each.status is ServerStatus.ACTIVE,
            load.tenants < each.capacity,
            each.capacity_bytes is None or (each.used_bytes or 0) < each.capacity_bytes,
            wish.model in load.roomy or load.databases < each.connections,
            not plans or f"plan-{wish.plan}" in plans,
            "only-bank" not in each.labels or "bank" in wish.labels,
            "on-ssd" not in wish.labels or "ssd" in each.labels,
            not load.apart.intersection(wish.labels),
        )
    )


@given(SERVERS, LOADS, WISHES)
def test_a_server_is_chosen_exactly_when_one_fits(servers: list[Server], loads: dict[str, Load], wish: Wish) -> None:
    fitting = {each.name for each in servers if may_take(each, loads.get(each.name, Load()), wish)}
    try:
        assert chosen(servers, loads, wish) in fitting
    except NoServerError:
        assert not fitting


@given(SERVERS, LOADS, WISHES)
def test_what_was_found_is_always_explained(servers: list[Server], loads: dict[str, Load], wish: Wish) -> None:
    verdict = consider(servers, loads, wish)
    assert verdict.objections.keys() == {each.name for each in servers}
    for each in servers:
        assert bool(verdict.objections[each.name]) != may_take(each, loads.get(each.name, Load()), wish)
    if verdict.choice is None:
        assert all(verdict.objections.values())
        assert all(name in verdict.refusal(wish.model) for name in verdict.objections)
    else:
        assert verdict.choice.server.name in verdict.choice.reason


@given(st.data(), SERVERS, LOADS, WISHES)
def test_the_order_makes_no_difference(
    data: st.DataObject, servers: list[Server], loads: dict[str, Load], wish: Wish
) -> None:
    assert consider(data.draw(st.permutations(servers)), loads, wish) == consider(servers, loads, wish)
