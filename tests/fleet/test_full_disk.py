"""A disk that is full in the middle of a run: nothing is half done, the reason is told, and with room it goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from control_plane.doors import SOCKETS
from migrations.fleet.run import FleetMigration
from migrations.fleet.wishes import Chosen, Wishes
from tests.fleet.fleet import BEHIND, FleetUnderTest, Place, hands, place_of
from tests.fleet.longer import longer_chain
from tests.fleet.writing import execute
from tests.platform.conftest import requires_root
from tests.platform_under_test import running_platform
from tests.small_disk import NO_SPACE, give_room, small_disk, take_room

pytestmark = [pytest.mark.slow, requires_root]

# More than the log has room for in the files that are there already.
VERBOSE = "SELECT pg_logical_emit_message(true, 'test', repeat('x', 1000000)) FROM generate_series(1, 150)"


@pytest.fixture(scope="module")
def tight_fleet() -> Iterator[FleetUnderTest]:
    """A fleet whose server beta, where the silos are, has a small disk of its own."""
    with running_platform("--at", BEHIND) as platform:
        settled = FleetUnderTest.settle(platform, pool=1, bridge=2, silo=3)
        with small_disk(platform, "beta"):
            yield settled


@pytest.fixture
def tight(tight_fleet: FleetUnderTest) -> Iterator[FleetUnderTest]:
    """The same one revision behind, with room at first and at the end."""
    tight_fleet.rewind()
    yield tight_fleet
    give_room(tight_fleet.platform, "beta")


def silos(fleet: FleetUnderTest) -> set[Place]:
    return {place_of(tenant) for tenant in fleet.of("silo")}


def test_targets_on_a_full_disk_stay_as_they_are_and_are_done_when_there_is_room(tight: FleetUnderTest) -> None:
    take_room(tight.platform, "beta")
    report = tight.run()
    assert report.run_id is not None
    assert {(o.step.target.database, o.step.target.schema) for o in report.failed} == silos(tight)
    assert all(NO_SPACE in str(outcome.error) for outcome in report.failed)
    assert tight.behind() == silos(tight)
    assert not any(tight.has_new_column(place) for place in silos(tight))
    assert tight.outcomes(report.run_id) == {"done": report.done, "failed": len(silos(tight))}
    assert tight.of("silo")[0].http.get("/api/me").status_code == 200, "it is read as before"
    give_room(tight.platform, "beta")
    again = tight.resume(report.run_id)
    assert (again.state, again.done, again.failed) == ("done", len(silos(tight)), ())
    assert tight.behind() == set()
    assert all(tight.has_new_column(place) for place in silos(tight))


def test_a_server_that_cannot_write_its_log_comes_back_with_all_or_nothing(
    tight: FleetUnderTest, tmp_path: Path
) -> None:
    assert tight.run().failed == ()
    chain = longer_chain(tmp_path / "chain", execute("CREATE TABLE half ()", VERBOSE))
    migration = FleetMigration(tight.platform.engine, chain, SOCKETS)
    take_room(tight.platform, "beta")
    wished = Wishes(to="0003", waves=("100%",), max_failures="100%", only=Chosen(servers=("beta",)))
    report = migration.run(wished, "tests", hands())
    assert report.run_id is not None
    assert len(report.failed) == len(silos(tight))
    assert any(NO_SPACE in str(outcome.error) for outcome in report.failed), report.failed
    give_room(tight.platform, "beta")
    assert tight.behind() == set(), "all are where they were"
    assert not any(half_done(tight, place) for place in silos(tight))
    again = migration.resume(report.run_id, "tests", hands())
    assert (again.state, again.done, again.failed) == ("done", len(silos(tight)), ())
    assert {place for place, revision in tight.found().items() if revision == "0003"} == silos(tight)
    assert tight.ledger() == tight.found()
    assert all(half_done(tight, place) for place in silos(tight))


def half_done(fleet: FleetUnderTest, place: Place) -> bool:
    """Whether the first thing that 0003 does is there."""
    database, schema = place
    with fleet.platform.superuser("beta", database) as connection:
        return connection.execute("SELECT to_regclass(%s)", [f"{schema}.half"]).fetchone() != (None,)
