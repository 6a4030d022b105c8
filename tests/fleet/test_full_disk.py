"""A disk that is full in the middle of a run: nothing is half done, the reason is told, and with room it goes on."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from migrations.fleet.run import FleetMigration
from migrations.fleet.wishes import Chosen, Wishes
from tests.fleet.fleet import BEHIND, FleetUnderTest, Place, hands, place_of
from tests.fleet.longer import longer_chain
from tests.fleet.writing import execute
from tests.platform.conftest import requires_root
from tests.platform_under_test import PlatformUnderTest, copyhold, running_platform
from tests.provisioning.workers import processes
from tests.waiting import until

pytestmark = [pytest.mark.slow, requires_root]

ROOM_MB = 600
NO_SPACE = "No space left on device"
# More than the log has room for in the files that are there already.
VERBOSE = "SELECT pg_logical_emit_message(true, 'test', repeat('x', 1000000)) FROM generate_series(1, 150)"


@pytest.fixture(scope="module")
def tight_fleet() -> Iterator[FleetUnderTest]:
    """A fleet whose server beta, where the silos are, has a small disk of its own."""
    with running_platform("--at", BEHIND) as platform:
        settled = FleetUnderTest.settle(platform, pool=1, bridge=2, silo=3)
        disk = move_to_a_disk_of_its_own(platform, "beta")
        try:
            yield settled
        finally:
            subprocess.run(["umount", "-l", disk], check=True)


@pytest.fixture
def tight(tight_fleet: FleetUnderTest) -> Iterator[FleetUnderTest]:
    """The same one revision behind, with room at first and at the end."""
    tight_fleet.rewind()
    yield tight_fleet
    give_room(tight_fleet)


def move_to_a_disk_of_its_own(platform: PlatformUnderTest, server: str) -> Path:
    """The server is stopped for it, and started again by the platform. In memory."""
    provider = platform.layout.provider
    data, before = provider.data(server), platform.layout.servers / f".{server}.before"
    owner = pwd.getpwuid(data.stat().st_uid)
    (supervisor,) = processes(platform, "up")
    os.kill(supervisor, signal.SIGSTOP)
    try:
        os.kill(int((data / "postmaster.pid").read_text().split()[0]), signal.SIGINT)
        until(lambda: not (data / "postmaster.pid").exists(), what=f"{server} has stopped")
        data.rename(before)
        data.mkdir()
        options = f"size={ROOM_MB}m,mode=0700,uid={owner.pw_uid},gid={owner.pw_gid}"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", data], check=True)
        subprocess.run(["cp", "-a", f"{before}/.", data], check=True)
        shutil.rmtree(before)
    finally:
        os.kill(supervisor, signal.SIGCONT)
    until(lambda: provider.is_ready(server), what=f"{server} is back")
    return data


def resized(disk: Path, size: str) -> bool:
    """Whether the disk has that size now: it may have come to hold more."""
    return subprocess.run(["mount", "-o", f"remount,size={size}", disk], check=False).returncode == 0


def take_room(fleet: FleetUnderTest) -> None:
    """Leave not a page on the disk."""
    disk = fleet.platform.layout.provider.data("beta")
    until(lambda: resized(disk, f"{shutil.disk_usage(disk).used // 1024}k"), what="the disk is full")


def give_room(fleet: FleetUnderTest) -> None:
    """Make the disk large enough, and wait until its server is there, whatever became of it meanwhile."""
    platform = fleet.platform
    assert resized(platform.layout.provider.data("beta"), f"{ROOM_MB}m")
    until(lambda: platform.layout.provider.is_ready("beta") or not processes(platform, "up"), what="it is back or gone")
    if not processes(platform, "up"):  # it gives up on a server that does not stand
        copyhold("up", "--data", str(platform.data), "--detach")


def silos(fleet: FleetUnderTest) -> set[Place]:
    return {place_of(tenant) for tenant in fleet.of("silo")}


def test_targets_on_a_full_disk_stay_as_they_are_and_are_done_when_there_is_room(tight: FleetUnderTest) -> None:
    take_room(tight)
    report = tight.run()
    assert report.run_id is not None
    assert {(o.step.target.database, o.step.target.schema) for o in report.failed} == silos(tight)
    assert all(NO_SPACE in str(outcome.error) for outcome in report.failed)
    assert tight.behind() == silos(tight)
    assert not any(tight.has_new_column(place) for place in silos(tight))
    assert tight.outcomes(report.run_id) == {"done": report.done, "failed": len(silos(tight))}
    assert tight.of("silo")[0].http.get("/api/me").status_code == 200, "it is read as before"
    give_room(tight)
    again = tight.resume(report.run_id)
    assert (again.state, again.done, again.failed) == ("done", len(silos(tight)), ())
    assert tight.behind() == set()
    assert all(tight.has_new_column(place) for place in silos(tight))


def test_a_server_that_cannot_write_its_log_comes_back_with_all_or_nothing(
    tight: FleetUnderTest, tmp_path: Path
) -> None:
    assert tight.run().failed == ()
    chain = longer_chain(tmp_path / "chain", execute("CREATE TABLE half ()", VERBOSE))
    migration = FleetMigration(tight.platform.engine, chain)
    take_room(tight)
    wished = Wishes(to="0003", waves=("100%",), max_failures="100%", only=Chosen(servers=("beta",)))
    report = migration.run(wished, "tests", hands())
    assert report.run_id is not None
    assert len(report.failed) == len(silos(tight))
    assert any(NO_SPACE in str(outcome.error) for outcome in report.failed), report.failed
    give_room(tight)
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
