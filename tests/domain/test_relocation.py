"""Who should live elsewhere: emptying a server, and evening servers out."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from control_plane.domain.placement import APART_RULE, Load, consider
from control_plane.domain.relocation import Held, Housing, Journey, Resident, Stay, emptying, evening_out, seconds_for
from control_plane.domain.server import Server, ServerStatus
from control_plane.domain.tenant import Model, Plan
from tests.domain.servers import server

FULL_AT = {Model.POOL: 4, Model.BRIDGE: 3}


def lives(
    slug: str,
    on: str,
    *labels: str,
    model: Model = Model.POOL,
    size: int = 0,
    per_minute: int = 0,
    plan: Plan = Plan.STARTER,
    obstacle: str | None = None,
    region: str | None = None,
) -> Resident:
    """A tenant that lives there."""
    number = UUID(int=int.from_bytes(slug.encode()[:15]))
    return Resident(
        id=number,
        slug=slug,
        server=on,
        model=model,
        plan=plan,
        labels=labels,
        bytes=size,
        per_minute=per_minute,
        obstacle=obstacle,
        region=region,
    )


def housing(servers: list[Server], residents: list[Resident]) -> Housing:
    """Those tenants on those servers, in as few pools and bridges as can be."""
    held = {}
    for each in servers:
        there = [resident for resident in residents if resident.server == each.name]
        models = Counter(resident.model for resident in there)
        shared = {model: -(-models[model] // FULL_AT[model]) for model in FULL_AT}
        held[each.name] = Held(
            tenants=len(there),
            databases=models[Model.SILO] + sum(shared.values()),
            places={model: shared[model] * FULL_AT[model] - models[model] for model in FULL_AT},
            labels=Counter(label for resident in there for label in resident.labels if label.startswith(APART_RULE)),
        )
    used = {each.name: sum(r.bytes for r in residents if r.server == each.name) for each in servers}
    busy = {each.name: sum(r.per_minute for r in residents if r.server == each.name) for each in servers}
    known = [replace(each, used_bytes=used[each.name], per_minute=busy[each.name]) for each in servers]
    return Housing(servers=known, held=held, residents=residents, full_at=FULL_AT)


def told(steps: list[Journey | Stay]) -> list[tuple[str, str]]:
    """Who goes where, or why not."""
    return [(step.resident.slug, step.to if isinstance(step, Journey) else step.reason) for step in steps]


def draining(name: str) -> Server:
    """A server that is drained."""
    return server(name, status=ServerStatus.DRAINING)


def test_whoever_lives_there_goes_where_there_is_room_and_each_counts_for_the_next() -> None:
    residents = [lives("one", "a"), lives("two", "a", model=Model.BRIDGE), lives("big", "a", model=Model.SILO, size=9)]
    residents.append(lives("other", "b"))
    steps = list(emptying(housing([draining("a"), server("b", capacity=3), server("c", capacity=5)], residents), "a"))
    assert told(steps) == [("big", "c"), ("one", "c"), ("two", "b")]


def test_who_fits_nowhere_stays_and_it_is_said_why() -> None:
    servers = [draining("a"), server("b", capacity=1), server("c", labels=("only-bank",))]
    residents = [lives("one", "a"), lives("two", "a"), lives("three", "a", obstacle="is suspended")]
    steps = list(emptying(housing(servers, residents), "a"))
    assert told(steps) == [
        ("one", "b"),
        ("three", "is suspended"),
        ("two", "no server can take a pool tenant (b: is full (1 tenants); c: takes only tenants labelled bank)"),
    ]


def test_a_tenant_goes_where_its_bytes_fit() -> None:
    servers = [draining("a"), server("b", capacity_bytes=10), server("c", capacity_bytes=100)]
    residents = [lives("large", "a", model=Model.SILO, size=50), lives("huge", "a", model=Model.SILO, size=60)]
    residents += [lives(f"c-{n}", "c") for n in range(5)]
    (huge, large) = emptying(housing(servers, residents), "a")
    assert isinstance(huge, Journey)
    assert huge.to == "c"
    assert isinstance(large, Stay)
    assert "b: has no room for 50 bytes more (0 of 10); c: has no room for 50 bytes more (60 of 100)" in large.reason


def test_two_who_are_kept_apart_do_not_meet_on_the_way() -> None:
    residents = [lives("one", "a", "apart-x"), lives("two", "b", "apart-x"), lives("three", "a", "apart-x")]
    steps = list(emptying(housing([draining("a"), server("b"), server("c")], residents), "a"))
    assert told(steps)[0] == ("one", "c")
    assert isinstance(steps[1], Stay), "c has one by now, b had one before"


def test_a_server_used_much_more_than_another_gives_until_they_nearly_are_even() -> None:
    residents = [lives(f"t-{n}", "a") for n in range(8)]
    found = evening_out(housing([server("a"), server("b")], residents))
    assert [(step.resident.slug, step.to) for step in found] == [(f"t-{n}", "b") for n in range(4)]
    assert found[0].reason == "a is used to 80%, b to 0%"


def test_a_small_difference_moves_nobody() -> None:
    residents = [*(lives(f"a-{n}", "a") for n in range(5)), *(lives(f"b-{n}", "b") for n in range(3))]
    assert evening_out(housing([server("a"), server("b")], residents)) == []


def test_one_large_tenant_is_moved_rather_than_many_small_ones() -> None:
    servers = [server("a", capacity=100, capacity_bytes=100), server("b", capacity=100, capacity_bytes=100)]
    residents = [lives(f"small-{n}", "a", size=2) for n in range(20)]
    residents += [lives("large", "a", model=Model.SILO, size=45)]
    found = evening_out(housing(servers, residents))
    assert [step.resident.slug for step in found] == ["large"]


def test_who_is_busy_moves_off_a_busy_server_though_both_hold_as_many() -> None:
    servers = [server("a", capacity_per_minute=1000), server("b", capacity_per_minute=1000)]
    residents = [lives(f"idle-{n}", name) for n, name in enumerate("aabb")]
    residents += [lives("calm", "a", model=Model.SILO, per_minute=100), lives("busy", "a", per_minute=400)]
    residents += [lives("busier", "a", model=Model.SILO, per_minute=450)]
    (step,) = evening_out(housing(servers, residents))
    assert (step.resident.slug, step.to, step.reason) == ("busier", "b", "a is used to 95%, b to 20%")


def test_how_busy_a_server_is_makes_no_difference_where_nobody_has_said_what_it_takes() -> None:
    residents = [lives("idle", "b"), lives("busy", "a", per_minute=10**9)]
    assert evening_out(housing([server("a"), server("b", capacity_per_minute=1000)], residents)) == []


def test_who_leaves_a_drained_server_goes_where_there_is_least_to_do() -> None:
    servers = [draining("a"), server("b", capacity_per_minute=1000), server("c")]
    residents = [lives("one", "a"), lives("busy", "b", per_minute=500), *(lives(f"c-{n}", "c") for n in range(3))]
    assert told(list(emptying(housing(servers, residents), "a"))) == [("one", "c")]


def test_no_more_than_so_many_are_moved() -> None:
    residents = [lives(f"t-{n}", "a") for n in range(8)]
    assert len(evening_out(housing([server("a"), server("b")], residents), 2)) == 2


def test_nobody_goes_to_or_from_a_server_that_takes_none() -> None:
    residents = [lives(f"t-{n}", "a") for n in range(8)]
    assert evening_out(housing([server("a"), draining("b")], residents)) == []
    assert evening_out(housing([draining("a"), server("b")], residents)) == []


def test_the_time_that_moves_take_is_shared_among_those_that_go_on_at_once() -> None:
    residents = [lives(f"t-{n}", "a", size=20_000_000) for n in range(4)]
    steps = list(emptying(housing([draining("a"), server("b")], residents), "a"))
    assert seconds_for([step for step in steps if isinstance(step, Journey)], 2) == 6.0


LABELS = ("apart-x", "apart-y", "on-ssd", "bank")
SERVER = st.builds(
    server,
    st.just(""),
    models=st.sampled_from([tuple(Model), (Model.POOL, Model.BRIDGE), (Model.SILO,)]),
    region=st.sampled_from(["eu", "us"]),
    capacity=st.integers(1, 12),
    connections=st.integers(1, 12),
    capacity_bytes=st.none() | st.integers(1, 200),
    capacity_per_minute=st.none() | st.integers(0, 200),
    labels=st.lists(st.sampled_from(["ssd", "only-bank", "plan-starter"]), unique=True, max_size=2).map(tuple),
    status=st.sampled_from([ServerStatus.ACTIVE] * 4 + [ServerStatus.DRAINING]),
)


@st.composite
def platforms(draw: st.DrawFn) -> Housing:
    """Some servers, and tenants who need not have been placed by today's rules."""
    drawn = draw(st.lists(SERVER, min_size=1, max_size=4))
    known = [replace(each, name=f"s{n}") for n, each in enumerate(drawn)]
    resident = st.builds(
        lives,
        st.just(""),
        st.sampled_from([each.name for each in known]),
        model=st.sampled_from(Model),
        plan=st.sampled_from(Plan),
        size=st.integers(0, 60),
        per_minute=st.integers(0, 60),
        obstacle=st.sampled_from([None, None, None, "is suspended"]),
        region=st.sampled_from([None, None, "eu"]),
    )
    labelled = st.tuples(resident, st.lists(st.sampled_from(LABELS), unique=True, max_size=2))
    residents = [
        replace(each, slug=f"t{n}", id=UUID(int=n), labels=tuple(labels))
        for n, (each, labels) in enumerate(draw(st.lists(labelled, max_size=14)))
    ]
    return housing(known, residents)


def after(before: Housing, journeys: list[Journey]) -> Housing:
    """The same when those have moved."""
    to = {step.resident.id: step.to for step in journeys}
    moved = [replace(each, server=to.get(each.id, each.server)) for each in before.residents]
    return moved_into(before, moved)


def moved_into(before: Housing, residents: list[Resident]) -> Housing:
    """The books after moves: pools stay when they are empty, and what is too many for them made new ones."""
    was, now = housing(list(before.servers), list(before.residents)), housing(list(before.servers), residents)
    held = {}
    for name in now.held:
        places, databases = {}, sum(each.server == name and each.model is Model.SILO for each in residents)
        for model, room in FULL_AT.items():
            there = sum(each.server == name and each.model is model for each in residents)
            before_there = sum(each.server == name and each.model is model for each in before.residents)
            number = max(-(-there // room), -(-before_there // room))
            databases += number
            places[model] = number * room - there
        held[name] = replace(now.held[name], databases=databases, places=places)
    assert was.held.keys() == held.keys()
    return replace(now, held=held)


@given(platforms())
def test_a_plan_after_an_evening_out_that_was_carried_out_is_empty(before: Housing) -> None:
    assert evening_out(after(before, evening_out(before))) == []


@given(platforms())
def test_no_rule_is_broken_by_an_evening_out(before: Housing) -> None:
    journeys = evening_out(before)
    assert len({step.resident.id for step in journeys}) == len(journeys)
    then = after(before, journeys)
    for step in journeys:
        assert step.resident.obstacle is None
        assert step.to != next(each.server for each in before.residents if each.id == step.resident.id)
        others = [each for each in then.residents if each.id != step.resident.id]
        held = moved_into(before, others).held[step.to]
        load = Load(
            tenants=held.tenants,
            databases=held.databases,
            roomy=frozenset(model for model, places in held.places.items() if places > 0),
            apart=frozenset(held.labels),
        )
        there = next(each for each in then.servers if each.name == step.to)
        target = replace(there, used_bytes=(there.used_bytes or 0) - step.resident.bytes)
        verdict = consider([target], {step.to: load}, replace(step.resident.wish, server=step.to))
        assert verdict.choice is not None, verdict.objections


@given(platforms(), st.integers(0, 3))
def test_a_server_that_is_emptied_gives_everybody_a_place_or_a_reason(before: Housing, number: int) -> None:
    name = before.servers[number % len(before.servers)].name
    steps = list(emptying(before, name))
    there = {each.id for each in before.residents if each.server == name}
    assert {step.resident.id for step in steps} == there
    assert len(steps) == len(there)
    for step in steps:
        assert step.reason
        if isinstance(step, Journey):
            target = next(each for each in before.servers if each.name == step.to)
            assert target.status is ServerStatus.ACTIVE
            assert step.to != name
            assert step.resident.model in target.models
            assert step.resident.region in (None, target.region)
