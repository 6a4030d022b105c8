"""Many steps at once: an error that nobody foresaw ends the run, and loses nothing of what was under way."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from control_plane.domain.ids import new_id
from control_plane.domain.server import Server
from migrations.fleet.crew import Crew, Outcome
from migrations.fleet.plan import Step, Target
from migrations.fleet.replay import Database, RunInPython, Script
from tests.fleet.bare import FIRST, BareFleet, bare_fleet
from tests.fleet.writing import chain, execute

SILOS = 12


class UnforeseenError(Exception):
    """What nobody foresaw."""


@pytest.fixture
def bare(cluster: Server, tmp_path: Path) -> Iterator[BareFleet]:
    """A fleet that can be brought from one table to two."""
    written = chain(tmp_path / "chain", *(execute(f"CREATE TABLE {name} ()") for name in "ab"))
    with bare_fleet(cluster, written) as made:
        yield made


def step(server: str, number: int) -> Step:
    """A step of a database of its own."""
    name = f"{server}_{number}"
    target = Target(
        chain="tenant", server=server, database_id=new_id(), database=name, schema="public", revision=None, model="silo"
    )
    return Step(target=target, to_revision=FIRST)


def crew(do: Callable[[Step], None], *, at_once: int = 2) -> Crew:
    """One that does this and needs no database for it."""

    def done(_database: Database | Exception, given: Step) -> Outcome:
        do(given)
        return Outcome(step=given, error=None, duration_ms=0)

    def open_database(_target: Target) -> Database:
        raise ConnectionError

    return Crew(at_once=at_once, open_database=open_database, do=done, stop=threading.Event())


def test_what_is_under_way_is_told_before_an_error_that_nobody_foresaw_is_raised() -> None:
    steps = [step("a", number) for number in range(SILOS)]
    both = threading.Barrier(2)
    failing: list[threading.Thread] = []

    def do(given: Step) -> None:
        if given is steps[0]:
            failing.append(threading.current_thread())
            both.wait(30)
            raise UnforeseenError
        if given is steps[1]:
            both.wait(30)
            failing[0].join(30)

    told: list[Outcome] = []
    outcomes = itertools.chain.from_iterable(crew(do).carry_out(steps))
    with pytest.raises(UnforeseenError):
        told.extend(outcomes)
    assert [outcome.step for outcome in told] == [steps[1]]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("fleet-")]


def test_no_more_at_once_on_a_server_than_it_may_have_and_every_step_once() -> None:
    steps = [step(server, number) for server in "ab" for number in range(SILOS)]
    busy = {"a": 0, "b": 0}
    most, lock = dict(busy), threading.Lock()
    together = threading.Barrier(4)

    def do(given: Step) -> None:
        server = given.target.server
        with lock:
            busy[server] += 1
            most[server] = max(most[server], busy[server])
        together.wait(30)
        with lock:
            busy[server] -= 1

    told = [outcome.step for batch in crew(do).carry_out(steps) for outcome in batch]
    assert most == {"a": 2, "b": 2}
    assert sorted(told, key=steps.index) == steps


@pytest.mark.slow
def test_an_error_that_nobody_foresaw_ends_the_run_and_the_ledger_says_so(
    bare: BareFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    silos = bare.add_silos(SILOS)
    follow = Database.follow

    def following(database: Database, script: Script, schema: str, in_python: RunInPython | None = None) -> str:
        if database.connection.info.dbname == silos[SILOS // 2]:
            raise UnforeseenError
        return follow(database, script, schema, in_python)

    monkeypatch.setattr(Database, "follow", following)
    with pytest.raises(UnforeseenError):
        bare.run(at_once=1)
    run_id, state, reason = bare.newest_run()
    assert (state, reason) == ("interrupted", None), "the run has said so itself"
    before = set(silos[: SILOS // 2])
    assert bare.states(run_id) == {name: "done" if name in before else "not_started" for name in silos}
    assert {name for name, revision in bare.ledger().items() if revision != FIRST} == before
    monkeypatch.undo()
    report = bare.run()
    assert (report.done, report.failed) == (SILOS // 2, ())
