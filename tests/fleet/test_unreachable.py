"""A server that does not answer, refusing or silent: its targets alone fail, and nobody waits for each of them."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import psycopg
import pytest

from control_plane.domain.server import Server, ServerStatus
from control_plane.registry import servers
from control_plane.registry.engine import transaction
from migrations.fleet import health
from migrations.fleet.events import Report
from migrations.fleet.reaching import TRIES, Reaching, ServerUnreachableError
from tests.fleet.bare import FIRST, BareFleet, bare_fleet
from tests.fleet.writing import chain, execute
from tests.platform_under_test import free_port

pytestmark = pytest.mark.slow

AWAY = 12
REFUSED = psycopg.OperationalError("connection refused")
NOT_THERE = psycopg.OperationalError('FATAL:  database "a" does not exist')


@pytest.fixture
def bare(cluster: Server, tmp_path: Path) -> Iterator[BareFleet]:
    """A fleet that can be brought from one table to two."""
    written = chain(tmp_path / "chain", *(execute(f"CREATE TABLE {name} ()") for name in "ab"))
    with bare_fleet(cluster, written) as made:
        yield made


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that takes no more connections and does not say so: the queue of who listens there is full."""
    with closing(socket.socket()) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        waiting = []
        for _ in range(4):
            waiting.append(socket.socket())
            waiting[-1].setblocking(False)
            with suppress(BlockingIOError):
                waiting[-1].connect(listening.getsockname())
        yield listening.getsockname()[1]
        for each in waiting:
            each.close()


def errors(report: Report) -> dict[str, str]:
    """By silo, why it failed."""
    return {outcome.step.target.database: str(outcome.error) for outcome in report.failed}


def given_up(server: str, found: dict[str, str]) -> tuple[int, int]:
    """How many were tried in vain, and how many were not tried at all."""
    kinds = Counter(error.startswith(f"server {server} cannot be reached (tried ") for error in found.values())
    return kinds[False], kinds[True]


def test_what_was_on_a_server_that_is_lost_is_nobodys_target(bare: BareFleet) -> None:
    here = bare.add_silos(2)
    bare.add_silos(2, on="away", host="127.0.0.1", port=free_port())
    with transaction(bare.engine) as session:
        servers.set_server_status(session, "away", ServerStatus.LOST)
    report = bare.run()
    assert (report.failed, report.done) == ((), len(here))


def test_a_server_that_refuses_fails_its_own_targets_and_is_tried_three_times(bare: BareFleet) -> None:
    here = bare.add_silos(3)
    # First in order, so that its targets would go ahead of the others.
    away = bare.add_silos(AWAY, on="away", host="127.0.0.1", port=free_port())
    report = bare.run()
    assert (report.done, set(errors(report))) == (len(here), set(away))
    assert given_up("away", errors(report)) == (TRIES, AWAY - TRIES)
    assert all("Connection refused" in error or "(tried 3 times)" in error for error in errors(report).values())
    assert {name for name, revision in bare.ledger().items() if revision != FIRST} == set(here)
    assert bare.states(report.run_id) == {**dict.fromkeys(here, "done"), **dict.fromkeys(away, "failed")}
    meanwhile = bare.resume(report)
    assert (meanwhile.state, meanwhile.done, set(errors(meanwhile))) == ("failed", 0, set(away)), "asked, and not seen"
    bare.place("away")
    again = bare.resume(report)
    assert (again.state, again.done, again.failed) == ("done", AWAY, ())
    assert set(bare.ledger().values()) == {"0002"}


def test_a_server_that_is_silent_is_waited_for_by_those_at_once_and_by_nobody_after_them(
    bare: BareFleet, silent_port: int
) -> None:
    at_once = TRIES + 1
    here = bare.add_silos(1)
    silent = bare.add_silos(AWAY, on="zeta", host="127.0.0.1", port=silent_port)
    report = bare.run(at_once=at_once)
    assert (report.done, set(errors(report))) == (len(here), set(silent))
    tried, not_tried = given_up("zeta", errors(report))
    assert TRIES <= tried <= at_once + TRIES - 1, "those at once, and whoever began before the third had failed"
    assert tried + not_tried == AWAY
    assert sum("timeout" in error for error in errors(report).values()) == tried


def test_each_wave_asks_again(bare: BareFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    away = bare.add_silos(TRIES + 1, on="away", host="127.0.0.1", port=free_port())
    monkeypatch.setattr(health, "problems", lambda *_: [])  # or it would stop after the first wave
    report = bare.run(waves=(str(TRIES), "100%"))
    assert given_up("away", errors(report)) == (len(away), 0)


def try_in_vain(reaching: Reaching, error: Exception) -> None:
    with suppress(psycopg.OperationalError), reaching.trying("a"):
        raise error


def test_an_answer_of_any_kind_is_an_answer() -> None:
    reaching = Reaching()
    for _ in range(TRIES + 1):
        try_in_vain(reaching, NOT_THERE)
    for _ in range(2):
        for _ in range(TRIES - 1):
            try_in_vain(reaching, REFUSED)
        with reaching.trying("a"):
            pass
    for _ in range(TRIES):
        try_in_vain(reaching, REFUSED)
    with pytest.raises(ServerUnreachableError, match=r"server a cannot be reached \(tried 3 times\)"):
        try_in_vain(reaching, AssertionError("it was tried"))
    with reaching.trying("b"):
        pass


def test_those_that_are_under_way_are_finished() -> None:
    reaching, together = Reaching(), threading.Barrier(TRIES + 2)

    def attempt() -> None:
        with suppress(psycopg.OperationalError), reaching.trying("a"):
            together.wait(30)
            raise REFUSED

    threads = [threading.Thread(target=attempt) for _ in range(TRIES + 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with pytest.raises(ServerUnreachableError, match=rf"tried {TRIES + 2} times"), reaching.trying("a"):
        pass
