"""Who may serve what: the gate and the road against a small model, over every pattern of expanding and contracting."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.domain.compatibility import AppRange
from control_plane.domain.ids import new_id
from control_plane.registry.tables import ProcessRow
from migrations.fleet import gate
from migrations.fleet.chains import Chain
from tests.fleet.declared import declared_chain

LENGTH = 5
POSITIONS = range(1, LENGTH + 1)
Pattern = tuple[bool, ...]
ChainOf = Callable[[Pattern], Chain]

patterns = st.tuples(*[st.booleans()] * LENGTH)


@dataclass(frozen=True)
class App:
    """A version of an app, in the model: it was written for the revisions from `oldest` to `newest`."""

    oldest: int
    newest: int

    @property
    def revisions(self) -> tuple[str, ...]:
        return tuple(named(number) for number in range(self.oldest, self.newest + 1))

    def survives(self, expands: Pattern, home: int) -> bool:
        """Whether it works with a home there: walked from the newest revision it knows, one revision at a time."""
        at = self.newest
        while at < home and expands[at]:  # the pattern counts from 0: this is the revision after `at`
            at += 1
        return self.oldest <= home <= at


apps = st.tuples(st.integers(1, LENGTH), st.integers(1, LENGTH)).map(lambda ends: App(min(ends), max(ends)))


@pytest.fixture(scope="module")
def chain_of(tmp_path_factory: pytest.TempPathFactory) -> ChainOf:
    """A real chain for each pattern, made when it is first asked for."""
    made: dict[Pattern, Chain] = {}
    folder = Path(tmp_path_factory.mktemp("chains"))

    def of(expands: Pattern) -> Chain:
        if expands not in made:
            made[expands] = declared_chain(folder / f"chain_{len(made)}", expands=expands)
        return made[expands]

    return of


def named(number: int) -> str:
    return f"{number:04}"


def running(*given_apps: App, kind: str = "api") -> list[ProcessRow]:
    now = datetime.now(UTC)
    return [
        ProcessRow(
            id=new_id(),
            kind=kind,
            place=f"here/{number}",
            code_version="1.0",
            revisions=list(app.revisions),
            started_at=now,
            seen_at=now,
        )
        for number, app in enumerate(given_apps)
    ]


@given(expands=patterns, app=apps, home=st.integers(1, LENGTH))
def test_an_app_serves_exactly_the_homes_that_the_model_says(
    chain_of: ChainOf, expands: Pattern, app: App, home: int
) -> None:
    assert gate.serves(chain_of(expands), app.revisions, named(home)) is app.survives(expands, home)


@given(expands=patterns, app=apps, home=st.integers(1, LENGTH))
def test_a_road_whose_code_ends_where_the_app_does_decides_the_same(
    chain_of: ChainOf, expands: Pattern, app: App, home: int
) -> None:
    """The process has an older copy of the chain; what came later it learns from the route alone."""
    known = frozenset(named(number) for number in range(1, app.newest + 1))
    old = AppRange(revisions=frozenset(app.revisions), older=known - set(app.revisions))
    assert gate.older(chain_of(expands), app.revisions) == old.older
    needs = gate.needed(chain_of(expands), named(home))
    assert old.serves(named(home), needs) is app.survives(expands, home)


@given(expands=patterns, app=apps, wanted=st.integers(1, LENGTH))
def test_going_up_is_blocked_by_a_contract_after_what_a_process_knows(
    chain_of: ChainOf, expands: Pattern, app: App, wanted: int
) -> None:
    contracts = [number for number in range(app.newest + 1, wanted + 1) if not expands[number - 1]]
    found = gate.blockers(running(app), chain_of(expands), named(wanted))
    assert bool(found) is bool(contracts)


@given(
    expands=patterns,
    several=st.lists(apps, max_size=4),
    wanted=st.integers(1, LENGTH),
    leaving=st.sets(st.integers(1, LENGTH)),
)
def test_those_block_who_would_lose_a_home_on_the_way_up_or_down(
    chain_of: ChainOf, expands: Pattern, several: list[App], wanted: int, leaving: set[int]
) -> None:
    losing = [
        f"here/{number}"
        for number, app in enumerate(several)
        if any(app.survives(expands, home) for home in leaving) and not app.survives(expands, wanted)
    ]
    homes = {named(home) for home in leaving}
    found = gate.blockers(running(*several), chain_of(expands), named(wanted), homes)
    assert [blocker.place for blocker in found] == losing


def test_every_case_is_a_case_of_the_model(chain_of: ChainOf) -> None:
    """All of them, for three revisions: what is generated above may miss one."""
    for expands in itertools.product((True, False), repeat=3):
        chain = chain_of((*expands, True, True))
        for oldest, newest, home in itertools.product(range(1, 4), repeat=3):
            if oldest <= newest:
                app = App(oldest, newest)
                survives = app.survives((*expands, True, True), home)
                assert gate.serves(chain, app.revisions, named(home)) is survives, (expands, app, home)


def test_a_home_asks_for_the_newest_contract(chain_of: ChainOf) -> None:
    chain = chain_of((True, True, False, True, True))
    assert [gate.needed(chain, name) for name in chain.revisions] == ["0001", "0001", "0003", "0003", "0003"]
    assert gate.needed(chain, None) is None
    assert gate.needed(chain, "of another chain") is None


def test_a_home_without_tables_and_a_revision_of_nobody_are_served_by_nobody(chain_of: ChainOf) -> None:
    chain = chain_of((True,) * LENGTH)
    assert not gate.serves(chain, ("0001",), None)
    assert not gate.serves(chain, ("0001",), "of another chain")


def test_a_home_that_does_not_say_what_it_asks_is_served_by_who_knows_its_revision() -> None:
    app = AppRange(revisions=frozenset({"0001", "0002"}))
    assert app.serves("0002", None)
    assert not app.serves("0003", None)


@pytest.mark.parametrize("wanted", POSITIONS)
def test_a_process_that_is_newer_than_this_chain_loses_nothing_by_going_up(chain_of: ChainOf, wanted: int) -> None:
    newer = running(App(LENGTH + 1, LENGTH + 2))
    assert gate.blockers(newer, chain_of((False,) * LENGTH), named(wanted)) == []


def test_a_process_that_reaches_past_this_chain_is_named_by_all_that_it_knows(chain_of: ChainOf) -> None:
    chain = chain_of((True,) * LENGTH)
    (blocker,) = gate.blockers(running(App(LENGTH, LENGTH + 1)), chain, "0004", {named(LENGTH)})
    assert blocker.revisions == ("0005", "0006")


def test_a_worker_counts_like_an_api_process(chain_of: ChainOf) -> None:
    chain = chain_of((True, False, True, True, True))
    (blocker,) = gate.blockers(running(App(1, 1), kind="worker"), chain, "0002")
    assert (blocker.kind, blocker.newest) == ("worker", "0001")
    assert str(blocker) == "worker here/0 (1.0), which knows 0001"


def test_without_processes_nothing_is_blocked(chain_of: ChainOf) -> None:
    assert gate.blockers([], chain_of((False,) * LENGTH), named(LENGTH)) == []
