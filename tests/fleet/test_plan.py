"""The plan is a pure function: nobody is forgotten, nobody comes twice, homes come first, then wave after wave."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrations.fleet.chains import HOME, Chain
from migrations.fleet.plan import Occupant, Plan, Target, plan
from migrations.fleet.wishes import Chosen, WavesError, Wishes, failures_allowed, wave_ends
from tests.fleet.writing import chain, execute

HOME_REVISIONS = (None, HOME.head, "h9999")
TENANT_REVISIONS = (None, "0001", "0002", "0003", "9999")


@pytest.fixture(scope="session")
def tenant(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """A chain of three revisions."""
    return chain(Path(tmp_path_factory.mktemp("plan") / "chain"), *[execute("SELECT 1")] * 3)


occupants = st.builds(
    Occupant,
    id=st.uuids(),
    slug=st.sampled_from(["acme", "bolt", "core"]),
    plan=st.sampled_from(["starter", "enterprise"]),
    status=st.sampled_from(["active", "moving"]),
    labels=st.sampled_from([(), ("early",), ("early", "eu")]),
)
chosen = st.builds(
    Chosen,
    names=st.sampled_from([(), ("acme",), ("database_1", "bolt")]),
    labels=st.sampled_from([(), ("early",)]),
    plans=st.sampled_from([(), ("enterprise",)]),
    servers=st.sampled_from([(), ("a",)]),
)
wishes = st.builds(
    Wishes,
    to=st.just("0002"),
    only=chosen,
    canaries=chosen,
    waves=st.sampled_from([("100%",), ("1", "100%"), ("1", "5%", "25%", "100%"), ("3", "50%", "100%")]),
    enterprise=st.sampled_from(["first", "last", "mixed"]),
)


@st.composite
def fleets(draw: st.DrawFn) -> list[Target]:
    """Targets of a few servers and databases, each place once, at any revision."""
    places = st.tuples(st.sampled_from("ab"), st.integers(1, 3), st.sampled_from(["tenancy", "public", "t_1", "t_2"]))
    targets = []
    for server, number, schema in draw(st.sets(places)):
        home = schema == "tenancy"
        model = "bridge" if schema.startswith("t_") else draw(st.sampled_from(["pool", "silo"]))
        targets.append(
            Target(
                chain="home" if home else "tenant",
                server=server,
                database_id=UUID(int=number),
                database=f"database_{number}",
                schema=schema,
                revision=draw(st.sampled_from(HOME_REVISIONS if home else TENANT_REVISIONS)),
                model=model,
                occupant=None if home or model == "pool" else draw(occupants),
            )
        )
    return draw(st.permutations(targets))


def planned(targets: list[Target], tenant: Chain, wished: Wishes = Wishes(to="0002")) -> Plan:
    return plan(targets, HOME.head, tenant, wished)


def tenant_waves(work: Plan) -> list[list[Target]]:
    return [[step.target for step in wave.steps] for wave in work.waves if wave.number]


def is_precious(target: Target) -> bool:
    return target.model == "silo" and target.occupant is not None and target.occupant.plan == "enterprise"


@given(targets=fleets())
def test_every_target_comes_exactly_once(tenant: Chain, targets: list[Target]) -> None:
    work = planned(targets, tenant)
    named = [step.target for step in work.steps] + list(work.ahead)
    there = [target for target in targets if target.revision in (HOME.head, "0002")]
    assert Counter(named) + Counter(there) == Counter(targets)
    assert work.there_already == len(there)


@given(targets=fleets())
def test_every_home_comes_before_any_tenant_target(tenant: Chain, targets: list[Target]) -> None:
    chains = [step.target.chain for step in planned(targets, tenant).steps]
    assert chains == sorted(chains)


@given(targets=fleets())
def test_a_step_goes_forward_and_to_its_own_chains_revision(tenant: Chain, targets: list[Target]) -> None:
    for step in planned(targets, tenant).steps:
        assert step.to_revision == (HOME.head if step.target.chain == "home" else "0002")
        assert step.target.revision in (None, "0001")


@given(targets=fleets())
def test_whoever_is_past_the_wanted_revision_or_at_an_unknown_one_is_ahead(
    tenant: Chain, targets: list[Target]
) -> None:
    assert {target.revision for target in planned(targets, tenant).ahead} <= {"0003", "9999", "h9999"}


@given(data=st.data(), targets=fleets())
def test_the_order_in_which_the_ledger_is_read_makes_no_difference(
    tenant: Chain, data: st.DataObject, targets: list[Target]
) -> None:
    assert planned(data.draw(st.permutations(targets)), tenant) == planned(targets, tenant)


def test_an_empty_fleet_has_nothing_to_do(tenant: Chain) -> None:
    assert planned([], tenant).steps == ()


@given(targets=fleets(), wished=wishes)
def test_whoever_is_chosen_and_behind_is_in_one_wave(tenant: Chain, targets: list[Target], wished: Wishes) -> None:
    behind = [t for t in targets if t.chain == "tenant" and t.revision in (None, "0001") and t.meets_all(wished.only)]
    waves = tenant_waves(planned(targets, tenant, wished))
    assert Counter(target for wave in waves for target in wave) == Counter(behind)
    assert all(waves)


@given(targets=fleets(), wished=wishes)
def test_canaries_come_first_and_alone(tenant: Chain, targets: list[Target], wished: Wishes) -> None:
    waves = tenant_waves(planned(targets, tenant, wished))
    canaries = {target for wave in waves for target in wave if target.meets_any(wished.canaries)}
    assert not canaries or set(waves[0]) == canaries


@given(targets=fleets(), wished=wishes)
def test_enterprise_silos_go_where_they_are_wished(tenant: Chain, targets: list[Target], wished: Wishes) -> None:
    waves = tenant_waves(planned(targets, tenant, wished))
    others = [t for wave in waves for t in wave if not t.meets_any(wished.canaries)]
    settled = [is_precious(t) for t in others if t.occupant is None or t.occupant.status != "moving"]
    if wished.enterprise != "mixed":
        assert settled == sorted(settled, reverse=wished.enterprise == "first")


@given(targets=fleets(), wished=wishes)
def test_homes_of_chosen_targets_alone_are_touched(tenant: Chain, targets: list[Target], wished: Wishes) -> None:
    chosen_databases = {t.database_id for t in targets if t.chain == "tenant" and t.meets_all(wished.only)}
    homes = {step.target.database_id for step in planned(targets, tenant, wished).steps if step.target.chain == "home"}
    assert not wished.only or homes <= chosen_databases


@given(targets=fleets())
def test_taking_back_goes_backward_and_touches_no_home(tenant: Chain, targets: list[Target]) -> None:
    work = planned(targets, tenant, Wishes(to="0001", down=True))
    assert Counter(step.target for step in work.steps) == Counter(
        target for target in targets if target.chain == "tenant" and target.revision in ("0002", "0003")
    )
    assert {target.revision for target in work.ahead} <= {"9999"}


@pytest.mark.parametrize(
    ("waves", "targets", "ends"),
    [
        (("100%",), 0, ()),
        (("100%",), 7, (7,)),
        (("1", "100%"), 1, (1,)),
        (("1", "100%"), 2, (1, 2)),
        (("1", "5%", "25%", "100%"), 1000, (1, 50, 250, 1000)),
        (("1", "5%", "25%", "100%"), 10, (1, 3, 10)),
        (("10", "50%", "100%"), 4, (4,)),
    ],
)
def test_waves_are_numbers_and_shares(waves: tuple[str, ...], targets: int, ends: tuple[int, ...]) -> None:
    assert wave_ends(waves, targets) == ends


@pytest.mark.parametrize(
    "waves", [(), ("",), ("1",), ("50%",), ("0", "100%"), ("0%", "100%"), ("25%", "5%", "100%"), ("x", "100%"),
              ("101%",), ("-1", "100%"), ("2", "2", "100%"), ("nan%", "100%"), ("1.5", "100%")]
)  # fmt: skip
def test_waves_that_make_no_sense_are_refused(waves: tuple[str, ...]) -> None:
    with pytest.raises(WavesError):
        wave_ends(waves, 10)


@pytest.mark.parametrize(
    ("rule", "targets", "allowed"),
    [("0", 5, 0), ("3", 5, 3), ("10%", 1, 0), ("10%", 5, 1), ("10%", 1000, 100), ("100%", 1, 1), ("0%", 9, 0)],
)
def test_so_many_may_fail(rule: str, targets: int, allowed: int) -> None:
    assert failures_allowed(rule, targets) == allowed


@given(wished=wishes)
def test_wishes_come_back_from_the_ledger_as_they_were(wished: Wishes) -> None:
    assert Wishes.from_ledger(json.loads(json.dumps(wished.for_ledger()))) == wished
