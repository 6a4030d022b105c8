"""Wherever the one who applies is cut off, the next one goes on, and nothing is lost or written twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from uuid import UUID

import pytest

from control_plane.domain.server import Server
from control_plane.domain.tenant import Model
from provisioning.moves import progress
from provisioning.moves.applying import Applier
from provisioning.moves.errors import DivergedError, NotBegunError, NotEmptyError, TargetFailedError, TargetGoneError
from provisioning.moves.following import Follower
from provisioning.moves.lsn import NOWHERE
from provisioning.moves.messages import Begin, Commit
from provisioning.moves.pipeline import Pipeline
from provisioning.moves.places import target_of
from provisioning.moves.slots import back_name, forward_name
from provisioning.moves.stream import Stream
from provisioning.moves.ways import (
    begin_way_back,
    clear_way_there,
    erase_tenant,
    prepare_way_back,
    way_back,
)
from tests.moves.conftest import NewHome
from tests.moves.homes import Home
from tests.moves.moving import caught_up, clear_ways, fill, moving, same, tables_between

pytestmark = pytest.mark.slow

KILL = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
 WHERE datname = current_database() AND usename = 'copyhold_mover' AND pid <> pg_backend_pid()
"""
TRANSACTIONS = 4


@pytest.fixture
def pair(home: NewHome, other: Server, tenant: UUID) -> tuple[Home, Home]:
    """From a bridge to a pool on another server, with rows."""
    here, there = home(Model.BRIDGE), home(Model.POOL, other)
    fill(here, tenant, "copied")
    return here, there


@pytest.fixture
def back(pair: tuple[Home, Home], tenant: UUID) -> Iterator[tuple[Home, Home]]:
    """A new home and an old one, with a way back between them and the same rows in both."""
    here, there = pair
    tables = tables_between(here, there)
    with moving(here, there, tenant) as follower:
        prepare_way_back(there.place, tables, tenant)
        fill(here, tenant, "streamed")
        caught_up(follower, here)
        begin_way_back(there.place, here.place, tenant)
    clear_way_there(here.place, there.place, tenant)
    yield there, here
    clear_ways(here, there, tenant)


def work(home: Home, tenant: UUID) -> None:
    """A few transactions, in which rows change that others of them have made."""
    for number in range(TRANSACTIONS):
        made = fill(home, tenant, f"number {number}")
        home.do("UPDATE things SET name = name || '.'", "DELETE FROM parts WHERE parent_id IS NOT NULL", id=made)
        home.do(
            "UPDATE events SET id = gen_random_uuid(), at = '2026-08-08' WHERE id = %(id)s AND at < '2026-01-01'",
            id=made,
        )


@pytest.fixture
def cut_off(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Has the connection to the target die at the n-th round trip, when an n is put in."""
    wanted: list[int] = []
    round_trip = Pipeline.round_trip

    def trip(pipeline: Pipeline) -> None:
        if wanted and wanted[0] > 1:
            wanted[0] -= 1
        elif wanted:
            wanted.clear()
            # As when the mover is killed: what was sent may or may not be carried out, and nobody hears of it.
            pipeline._pgconn.pipeline_sync()
            pipeline._pgconn.flush()
            pipeline.connection.close()
        round_trip(pipeline)

    monkeypatch.setattr(Pipeline, "round_trip", trip)
    return wanted


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many round trips and many transactions for little work."""
    monkeypatch.setattr("provisioning.moves.applying.STATEMENTS_A_TRIP", 3)
    monkeypatch.setattr("provisioning.moves.applying.CHANGES_A_TRANSACTION", 7)


@pytest.mark.parametrize("number", [1, 2, 3, 5, 8, 13, 21, 25, 30])
def test_one_that_is_cut_off_is_followed_by_one_that_ends_it(
    back: tuple[Home, Home], tenant: UUID, cut_off: list[int], small: None, number: int
) -> None:
    new, old = back
    work(new, tenant)
    cut_off.append(number)
    tables = tables_between(new, old)
    with pytest.raises(TargetGoneError), way_back(new.place, old.place, tables, tenant) as follower:
        caught_up(follower, new)
    assert not cut_off
    with way_back(new.place, old.place, tables, tenant) as follower:
        caught_up(follower, new)
        assert same(new, old, tenant)


def test_one_that_is_cut_off_again_and_again_comes_to_an_end(
    back: tuple[Home, Home], tenant: UUID, cut_off: list[int], small: None
) -> None:
    new, old = back
    work(new, tenant)
    tables = tables_between(new, old)
    for number in count(1):
        cut_off[:] = [number * 3]
        with suppress(TargetGoneError), way_back(new.place, old.place, tables, tenant) as follower:
            caught_up(follower, new)
        if cut_off:
            break
    assert number > 2
    assert same(new, old, tenant)


def test_a_target_that_ends_the_connection_is_told_as_gone(pair: tuple[Home, Home], tenant: UUID) -> None:
    here, there = pair
    with moving(here, there, tenant) as follower:
        fill(here, tenant, "streamed")
        there.ask(KILL)
        with pytest.raises(TargetGoneError):
            caught_up(follower, here)


def test_of_two_who_apply_the_same_the_later_one_fails_and_leaves_nothing(
    pair: tuple[Home, Home], tenant: UUID
) -> None:
    here, there = pair
    name, tables = forward_name(tenant), tables_between(here, there)
    with moving(here, there, tenant) as follower, Applier.opened(there.place, name, tables, tenant) as stale:
        fill(here, tenant, "streamed")
        caught_up(follower, here)
        before = there.rows(tenant)
        stale._pipeline.send(b"BEGIN")
        stale._pipeline.send(b"DELETE FROM " + there.schema.encode() + b".feelings")
        stale._open = True
        stale.begin(Begin(stale.applied, 1))
        stale.end(Commit(stale.applied, stale.applied))
        with pytest.raises(DivergedError):
            stale.commit()
        assert there.rows(tenant) == before


def test_what_was_applied_already_is_skipped_when_it_comes_again(
    back: tuple[Home, Home], tenant: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    new, old = back
    tables, name = tables_between(new, old), back_name(tenant)
    monkeypatch.setattr(Stream, "confirm", lambda *_, **__: None)
    with way_back(new.place, old.place, tables, tenant) as follower:
        work(new, tenant)
        caught_up(follower, new)
    # From what was confirmed, which is nothing: the copy into the new home is in there as well.
    with (
        Stream.opened(new.place, name) as stream,
        Applier.opened(old.place, name, tables, tenant) as applier,
    ):
        stream.start(NOWHERE)
        caught_up(Follower(stream, applier, name, new.schema), new)
        assert applier.written == 0
    assert same(new, old, tenant)


@pytest.mark.parametrize(
    "harm",
    ["DELETE FROM parts", "UPDATE things SET id = gen_random_uuid() WHERE name IS NULL", "DELETE FROM feelings"],
)
def test_a_target_that_is_no_copy_is_not_written_to(pair: tuple[Home, Home], tenant: UUID, harm: str) -> None:
    here, there = pair
    with moving(here, there, tenant) as follower:
        there.do("SET session_replication_role = replica", harm)
        before = there.rows(tenant)
        here.do("UPDATE things SET name = 'x'", "UPDATE parts SET note = 'x'", "DELETE FROM feelings")
        with pytest.raises(DivergedError):
            caught_up(follower, here)
        assert there.rows(tenant) == before


def test_a_row_that_is_there_already_is_an_error_that_tells_no_values(pair: tuple[Home, Home], tenant: UUID) -> None:
    here, there = pair
    with moving(here, there, tenant) as follower:
        made = fill(here, tenant, "secret")
        there.do("INSERT INTO feelings (tenant_id, id, whole) VALUES (%(t)s, %(id)s, '')", t=tenant, id=made)
        with pytest.raises(TargetFailedError, match="duplicate key") as failed:
            caught_up(follower, here)
        assert str(made) not in str(failed.value)


def test_a_copy_that_was_cut_short_is_begun_anew_once_its_rows_are_gone(pair: tuple[Home, Home], tenant: UUID) -> None:
    here, there = pair
    fill(there, tenant, "half copied")
    with pytest.raises(NotEmptyError, match="events, feelings"), moving(here, there, tenant):
        pass
    erase_tenant(there.place, tenant)
    with moving(here, there, tenant):
        assert same(here, there, tenant)


def test_a_stream_that_was_never_begun_is_not_followed(pair: tuple[Home, Home], tenant: UUID) -> None:
    new, old = pair
    tables = tables_between(new, old)
    prepare_way_back(new.place, tables, tenant)
    with pytest.raises(NotBegunError), way_back(new.place, old.place, tables, tenant):
        pass
    clear_ways(old, new, tenant)


def test_nothing_of_a_way_is_left_once_it_is_cleared(back: tuple[Home, Home], tenant: UUID) -> None:
    new, old = back
    with Stream.opened(new.place, back_name(tenant)) as stream:
        with target_of(old.place) as connection:
            start = progress.applied(connection, back_name(tenant))
        assert start is not None
        stream.start(start)
        for _ in range(2):
            clear_ways(old, new, tenant)
            clear_way_there(old.place, new.place, tenant)
    for home in (new, old):
        assert (
            home.ask("SELECT slot_name FROM pg_replication_slots WHERE slot_name LIKE %(n)s", n=f"%{tenant.hex}") == []
        )
        assert home.ask("SELECT pubname FROM pg_publication") == []
        assert home.ask("SELECT name FROM tenancy.streams") == []
