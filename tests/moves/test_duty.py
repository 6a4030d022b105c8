"""Long work rests in proportion, and copying, comparing and deleting do so after each piece."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from uuid import UUID

import pytest

from control_plane.domain.server import Server
from control_plane.domain.tenant import Model
from provisioning import erasing
from provisioning.duty import FULL, LEAST, NICENESS, REST_MAX_S, Duty, count_ticks
from provisioning.moves import comparing, copying, following
from provisioning.moves.places import source_of, target_of
from provisioning.moves.ways import erase_tenant
from provisioning.roles import MOVER, Connection
from tests.moves.conftest import NewHome
from tests.moves.moving import caught_up, fill, moving, same, tables_between
from tests.servers.remote import remote_server

FILLS = 5


class Watch:
    """A clock that goes on when it is told to, what was slept by it, and how full the machine is."""

    def __init__(self) -> None:
        self.now = 100.0
        self.rests: list[float] = []
        self.in_use = 0.0
        self.counted = (0.0, 0.0)
        self.counted_at = self.now

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.rests.append(seconds)
        self.now += seconds

    def ticks(self) -> tuple[int, int]:
        used, all_ = self.counted
        passed = (self.now - self.counted_at) * 1000
        self.counted, self.counted_at = (used + passed * self.in_use, all_ + passed), self.now
        return int(self.counted[0]), int(self.counted[1])

    def duty(self, share: float) -> Duty:
        return Duty(share, clock=self.clock, sleep=self.sleep, ticks=self.ticks)

    def share(self, duty: Duty, pieces: int) -> float:
        """That the last of so many pieces of work had."""
        for _ in range(pieces):
            self.now += 0.1
            duty.rest()
        return 0.1 / (0.1 + self.rests[-1])


@pytest.mark.parametrize(("share", "rest_s"), [(0.25, 0.3), (0.5, 0.1), (0.8, 0.025)])
def test_what_took_longer_is_rested_from_longer(share: float, rest_s: float) -> None:
    watch = Watch()
    duty = watch.duty(share)
    for pieces in (1, 2):
        watch.now += 0.1 * pieces
        duty.rest()
    assert watch.rests == [pytest.approx(rest_s), pytest.approx(2 * rest_s)]


def test_on_a_full_machine_it_takes_less_and_never_nothing() -> None:
    watch = Watch()
    duty = watch.duty(0.5)
    watch.in_use = FULL - 0.1
    assert watch.share(duty, 30) == pytest.approx(0.5)
    watch.in_use = FULL + 0.1
    assert 0.5 * LEAST < watch.share(duty, 3) < 0.5
    assert watch.share(duty, 30) == pytest.approx(0.5 * LEAST)
    watch.in_use = 0.0
    assert watch.share(duty, 30) == pytest.approx(0.5)


def test_the_kernel_counts_what_is_in_use() -> None:
    used, all_ = count_ticks()
    end = time.process_time() + 0.1
    while time.process_time() < end:
        pass
    used_after, all_after = count_ticks()
    assert used < used_after <= all_after
    assert 0 < used_after - used <= all_after - all_


def test_with_all_of_the_time_it_never_rests() -> None:
    watch = Watch()
    duty = watch.duty(1.0)
    watch.now += 10
    duty.rest()
    assert watch.rests == []


def test_what_was_no_work_is_not_rested_from_and_no_rest_is_longer_than_the_longest() -> None:
    watch = Watch()
    duty = watch.duty(0.5)
    watch.now += 10
    duty.begin()
    duty.rest()
    watch.now += 10
    duty.rest()
    assert watch.rests == [0, REST_MAX_S]


def test_who_does_not_get_ahead_hurries_up_to_all_of_the_time() -> None:
    watch = Watch()
    duty = watch.duty(0.25)
    shares = []
    for _ in range(2):
        shares.append(watch.share(duty, 30))
        duty = duty.hurried()
    assert shares == [pytest.approx(0.25), pytest.approx(0.5)]
    assert not duty.rests


def niceness(connection: Connection) -> int:
    return os.getpriority(os.PRIO_PROCESS, connection.info.backend_pid)


def test_what_rests_gives_way_at_its_server_and_what_somebody_waits_for_does_not(home: NewHome) -> None:
    here = home(Model.POOL)
    with source_of(here.place) as resting, source_of(here.place) as urgent, here.superuser() as stranger:
        Watch().duty(0.5).begin(resting, stranger)
        Watch().duty(1.0).begin(urgent)
        assert niceness(resting) == NICENESS
        # By its number alone it might be anybody's process: only the mover's own are touched.
        assert niceness(urgent) == niceness(stranger) == os.getpriority(os.PRIO_PROCESS, 0)


@pytest.mark.slow
def test_a_process_that_is_reached_by_tcp_is_left_alone() -> None:
    """By its number it might be any process of this machine: of another mover's too."""
    with remote_server() as server:
        with server.superuser() as superuser:
            superuser.execute(f"GRANT CONNECT ON DATABASE postgres TO {MOVER}")
        with server.connect(MOVER) as connection:
            Watch().duty(0.5).begin(connection)
            assert niceness(connection) == os.getpriority(os.PRIO_PROCESS, 0)


def test_applying_rests_after_each_piece_and_is_as_whole(
    home: NewHome, other: Server, tenant: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = home(Model.POOL), home(Model.BRIDGE, other)
    monkeypatch.setattr(following, "PIECE_FRAMES", 1)
    with moving(here, there, tenant) as follower:
        for number in range(FILLS):
            fill(here, tenant, f"number {number}")
        watch = Watch()
        follower.duty = watch.duty(0.5)
        caught_up(follower, here)
        assert len(watch.rests) > FILLS
        assert same(here, there, tenant)


def test_copying_comparing_and_deleting_rest_after_each_piece(
    home: NewHome, other: Server, tenant: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = home(Model.POOL), home(Model.BRIDGE, other)
    for number in range(FILLS):
        fill(here, tenant, f"number {number}")
    tables = tables_between(here, there)
    monkeypatch.setattr(copying, "CHUNK_BYTES", 1)
    monkeypatch.setattr(comparing, "PIECE_ROWS", 1)
    monkeypatch.setattr(erasing, "BATCH_ROWS", 1)
    rows = sum(map(len, here.rows(tenant).values()))

    def rests_of(work: Callable[[Duty], object]) -> int:
        watch = Watch()
        work(watch.duty(0.5))
        return len(watch.rests)

    with source_of(here.place) as source, target_of(there.place) as target:
        schemas = here.schema, there.schema
        assert rests_of(lambda duty: copying.copy_rows(source, target, schemas, tables, tenant, duty=duty)) >= rows
    with source_of(here.place) as source:
        assert rests_of(lambda duty: comparing.sums(source, here.schema, tables, tenant, duty=duty)) == rows
    # Twice more a table: once behind the last row, and once to see that there are none.
    assert rests_of(lambda duty: erase_tenant(there.place, tenant, duty=duty)) == rows + 2 * len(tables)
    assert not any(there.rows(tenant).values())


def test_a_copy_that_somebody_waits_for_does_not_rest(
    home: NewHome, other: Server, tenant: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = home(Model.POOL), home(Model.BRIDGE, other)
    fill(here, tenant, "copied")
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    with source_of(here.place) as source, target_of(there.place) as target:
        copying.copy_rows(source, target, (here.schema, there.schema), tables_between(here, there), tenant)
    assert slept == []
