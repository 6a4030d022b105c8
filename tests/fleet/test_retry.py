"""Going on with a run: what failed alone, all that is left, and what somebody else has taken further meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from control_plane.domain.ids import new_id
from control_plane.domain.server import Server
from control_plane.registry import fleet as registry
from migrations.fleet.run import NothingToResumeError
from tests.fleet.bare import FIRST, BareFleet, bare_fleet
from tests.fleet.writing import chain, execute

pytestmark = pytest.mark.slow


@pytest.fixture
def bare(cluster: Server, tmp_path: Path) -> Iterator[BareFleet]:
    """A fleet whose revisions make the tables a, b and c, one each."""
    written = chain(tmp_path / "chain", *(execute(f"CREATE TABLE {name} ()") for name in "abc"))
    with bare_fleet(cluster, written) as made:
        yield made


def spoil(bare: BareFleet, *silos: str) -> None:
    """Put something in the way of 0002."""
    for silo in silos:
        bare.inside(silo).tell("CREATE TABLE b ()")


def mend(bare: BareFleet, *silos: str) -> None:
    for silo in silos:
        bare.inside(silo).tell("DROP TABLE b")


def test_a_retry_after_a_stop_does_what_failed_and_says_how_many_are_left(bare: BareFleet) -> None:
    first, second, *others = bare.add_silos(5)
    spoil(bare, first, second)
    stopped = bare.run("0002", at_once=1, max_failures="1")
    assert (stopped.state, len(stopped.failed), stopped.not_started) == ("stopped", 2, 3)
    mend(bare, first)
    report = bare.resume(stopped, failed_only=True)
    assert (report.state, report.done, len(report.failed)) == ("stopped", 1, 1)
    assert report.reason == "3 of its targets have not been begun"
    assert bare.newest_run() == (stopped.run_id, "stopped", report.reason)
    still = {first: "done", second: "failed", **dict.fromkeys(others, "not_started")}
    assert bare.states(stopped.run_id) == still
    assert bare.ledger() == {first: "0002", second: FIRST, **dict.fromkeys(others, FIRST)}
    mend(bare, second)
    again = bare.resume(stopped)
    assert (again.state, again.reason, again.done, again.failed) == ("done", None, 4, ())
    assert set(bare.ledger().values()) == {"0002"}
    assert set(bare.states(stopped.run_id).values()) == {"done"}
    assert bare.newest_run() == (stopped.run_id, "done", None)
    for failed_only in (True, False):
        with pytest.raises(NothingToResumeError):
            bare.resume(stopped, failed_only=failed_only)


def test_a_retry_that_has_all_of_the_run_there_is_the_end_of_it(bare: BareFleet) -> None:
    first, *_ = bare.add_silos(3)
    spoil(bare, first)
    failed = bare.run("0002")
    assert (failed.state, failed.done, len(failed.failed)) == ("failed", 2, 1)
    assert bare.resume(failed, failed_only=True).state == "failed"
    mend(bare, first)
    report = bare.resume(failed, failed_only=True)
    assert (report.state, report.reason, report.done) == ("done", None, 1)
    assert bare.newest_run() == (failed.run_id, "done", None)


def test_what_has_been_taken_further_meanwhile_is_recorded_where_it_is(bare: BareFleet) -> None:
    further, behind, *_ = bare.add_silos(4)
    spoil(bare, further, behind)
    failed = bare.run("0002")
    assert len(failed.failed) == 2
    mend(bare, further, behind)
    bare.inside(further).bring_to(bare.chain, "0003")
    report = bare.resume(failed)
    assert (report.state, report.done, report.failed) == ("done", 1, ())
    assert [target.database for target in report.ahead] == [further]
    ledger = bare.ledger()
    assert (ledger.pop(further), set(ledger.values())) == ("0003", {"0002"})
    assert set(bare.states(failed.run_id).values()) == {"done"}


def test_a_run_whose_rest_somebody_else_has_done_ends_without_doing_anything(bare: BareFleet) -> None:
    there, further, *_ = bare.add_silos(3)
    spoil(bare, there, further)
    failed = bare.run("0002")
    mend(bare, there, further)
    bare.inside(there).bring_to(bare.chain, "0002")
    bare.inside(further).bring_to(bare.chain, "0003")
    report = bare.resume(failed)
    assert (report.state, report.done, report.failed, report.not_started) == ("done", 0, (), 0)
    assert (bare.ledger()[there], bare.ledger()[further]) == ("0002", "0003")
    assert set(bare.states(failed.run_id).values()) == {"done"}
    assert bare.newest_run() == (failed.run_id, "done", None)


def test_a_fleet_is_free_as_soon_as_a_run_has_ended(bare: BareFleet) -> None:
    ready = 5
    for _ in range(60):
        with ExitStack() as stack:  # connections that the next runs need not wait for
            for _ in range(ready):
                stack.enter_context(bare.engine.connect())
        for _ in range(ready):
            with registry.holding_fleet(bare.engine, new_id()):
                pass


def test_a_target_that_fails_on_the_way_is_recorded_where_it_was_left(bare: BareFleet) -> None:
    left, *others = bare.add_silos(3)
    bare.inside(left).tell("CREATE TABLE c ()")
    report = bare.run()
    assert [(outcome.step.target.database, outcome.revision) for outcome in report.failed] == [(left, "0002")]
    assert bare.ledger() == {left: "0002", **dict.fromkeys(others, "0003")}
    bare.inside(left).tell("DROP TABLE c")
    again = bare.resume(report)
    assert (again.state, again.done) == ("done", 1)
    assert set(bare.ledger().values()) == {"0003"}
