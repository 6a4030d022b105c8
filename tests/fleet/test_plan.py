"""The plan is a pure function: nobody is forgotten, nobody comes twice, homes come first."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrations.fleet.chains import HOME, Chain
from migrations.fleet.plan import Plan, Target, plan
from tests.fleet.writing import chain, execute

HOME_REVISIONS = (None, HOME.head, "h9999")
TENANT_REVISIONS = (None, "0001", "0002", "0003", "9999")


@pytest.fixture(scope="session")
def tenant(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """A chain of three revisions."""
    return chain(Path(tmp_path_factory.mktemp("plan") / "chain"), *[execute("SELECT 1")] * 3)


@st.composite
def fleets(draw: st.DrawFn) -> list[Target]:
    """Targets of a few servers and databases, each place once, at any revision."""
    places = st.tuples(st.sampled_from("ab"), st.integers(1, 3), st.sampled_from(["tenancy", "public", "t_1", "t_2"]))
    targets = []
    for server, number, schema in draw(st.sets(places)):
        home = schema == "tenancy"
        targets.append(
            Target(
                chain="home" if home else "tenant",
                server=server,
                database_id=UUID(int=number),
                database=f"database_{number}",
                schema=schema,
                revision=draw(st.sampled_from(HOME_REVISIONS if home else TENANT_REVISIONS)),
            )
        )
    return draw(st.permutations(targets))


def planned(targets: list[Target], tenant: Chain, to: str = "0002") -> Plan:
    return plan(targets, HOME.head, tenant, to)


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
