"""Sources that are busy, that go away, and that have forgotten; and a copy during which the tenant goes on working."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from itertools import count
from uuid import UUID

import pytest

from control_plane.domain.server import Server
from control_plane.domain.tenant import Model
from migrations.fleet.chains import Chain
from provisioning.moves import places, stream
from provisioning.moves.copying import Progress, copy_rows, snapshot_of
from provisioning.moves.errors import (
    NotCaughtUpError,
    SlotBusyError,
    SlotLostError,
    SlotTakenError,
    SourceFailedError,
    SourceGoneError,
)
from provisioning.moves.following import FenceSeen
from provisioning.moves.places import Place, source_of, target_of
from provisioning.moves.slots import Writer, back_name, create_slot, forward_name, open_writers
from provisioning.moves.stream import KeepAlive, Stream
from provisioning.moves.ways import begin_way_back, prepare_way_back, way_back, way_there
from provisioning.roles import Connection
from tests.moves.conftest import NewHome
from tests.moves.homes import Home, new_home
from tests.moves.moving import caught_up, clear_ways, fill, moving, same, tables_between
from tests.tenant_app.cluster import running_cluster
from tests.waiting import until

pytestmark = pytest.mark.slow

SENDERS = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walsender' AND datname = current_database()"
SLOTS = "SELECT slot_name FROM pg_replication_slots WHERE slot_name LIKE %(like)s"


@pytest.fixture
def pair(home: NewHome, other: Server, tenant: UUID) -> tuple[Home, Home]:
    """From a pool to a bridge on another server, with rows."""
    here, there = home(Model.POOL), home(Model.BRIDGE, other)
    fill(here, tenant, "copied")
    return here, there


def test_what_is_written_while_it_is_copied_arrives_once(pair: tuple[Home, Home], tenant: UUID) -> None:
    here, there = pair
    numbers = count(1)

    def write(_: object) -> None:
        fill(here, tenant, f"during {next(numbers)}")
        here.do("UPDATE things SET name = 'a' WHERE name LIKE 'copied%%'", "DELETE FROM events")
        fill(here, tenant, "and more")

    tables = tables_between(here, there)
    with way_there(here.place, there.place, tables, tenant, tell=write) as follower:
        assert len(there.rows(tenant)["things"]) == 3
        caught_up(follower, here)
        assert same(here, there, tenant)
    assert next(numbers) > len(tables)


def test_the_copy_is_of_the_moment_at_which_the_stream_begins(
    pair: tuple[Home, Home], tenant: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = pair

    def later(source: Place, snapshot: str) -> AbstractContextManager[Connection]:
        fill(here, tenant, "after the slot")
        return snapshot_of(source, snapshot)

    monkeypatch.setattr("provisioning.moves.ways.snapshot_of", later)
    with moving(here, there, tenant) as follower:
        assert {row["name"] for row in there.rows(tenant)["things"]} == {"copied", "", None}
        caught_up(follower, here)
        assert same(here, there, tenant)


def test_the_copy_tells_how_far_it_is_and_leaves_statistics(pair: tuple[Home, Home], tenant: UUID) -> None:
    here, there = pair
    told: list[Progress] = []
    with way_there(here.place, there.place, tables_between(here, there), tenant, tell=told.append):
        pass
    rows = sum(map(len, here.rows(tenant).values()))
    assert [each.table for each in told if each.rows == rows]
    assert [each.rows for each in told] == sorted(each.rows for each in told)
    assert told[-1].rows == rows
    assert told[-1].bytes > 9000
    assert there.ask("SELECT reltuples FROM pg_class WHERE oid = 'things'::regclass") == [(3.0,)]


def test_a_transaction_that_is_open_is_named_and_waited_for(
    pair: tuple[Home, Home], tenant: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = pair
    told: list[Writer] = []
    monkeypatch.setitem(places.SETTINGS, "lock_timeout", "200ms")
    with here.superuser() as writer:
        writer.execute("BEGIN; UPDATE things SET name = 'in the way'")

        def look(writers: Sequence[Writer]) -> None:
            told.extend(writers)
            writer.execute("COMMIT")

        tables = tables_between(here, there)
        with way_there(here.place, there.place, tables, tenant, waiting=look):
            assert same(here, there, tenant)
        assert Writer(pid=writer.info.backend_pid, database=here.database, role="postgres") in told


def test_one_that_stays_open_is_named_at_the_end(
    pair: tuple[Home, Home], tenant: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here, _), name = pair, forward_name(tenant)
    monkeypatch.setitem(places.SETTINGS, "lock_timeout", "100ms")
    with here.superuser() as writer, source_of(here.place) as watcher:
        writer.execute("BEGIN; UPDATE things SET name = 'in the way'")
        with Stream.opened(here.place, name) as opened, pytest.raises(SlotBusyError, match="postgres in"):
            create_slot(opened.connection, watcher, name, temporary=True, snapshot=True, tries=2)
        assert here.ask(SLOTS, like=f"%{tenant.hex}") == []
        writer.execute("ROLLBACK")
        assert writer.info.backend_pid not in {each.pid for each in open_writers(watcher)}


def test_a_source_that_ends_the_stream_is_told_as_gone_and_its_slot_is_gone_too(
    pair: tuple[Home, Home], tenant: UUID
) -> None:
    here, there = pair
    with moving(here, there, tenant) as follower:
        assert here.ask(SLOTS, like=f"%{tenant.hex}") == [(forward_name(tenant),)]
        ((sender,),) = here.ask(SENDERS)
        here.ask("SELECT pg_terminate_backend(%(pid)s)", pid=sender)
        with pytest.raises(SourceGoneError):
            follower.pump_until(lambda: False, what="the end")
    until(lambda: here.ask(SLOTS, like=f"%{tenant.hex}") == [], what="the slot is gone")


def test_a_server_that_is_stopped_is_told_as_gone(home: NewHome, things: Chain, tenant: UUID) -> None:
    there, cluster, ending = home(Model.SILO), ExitStack(), ExitStack()
    here = new_home(cluster.enter_context(running_cluster(wal_level="logical")), Model.POOL, tenant, things)
    fill(here, tenant, "copied")
    with ThreadPoolExecutor(1) as elsewhere:
        follower = ending.enter_context(moving(here, there, tenant))
        fill(here, tenant, "streamed")
        stopped = elsewhere.submit(cluster.close)
        with pytest.raises(SourceGoneError):
            follower.pump_until(lambda: False, what="the end")
        stopped.result()
        ending.close()


def test_a_source_that_is_not_there_is_told_as_gone(pair: tuple[Home, Home]) -> None:
    here, _ = pair
    nowhere = replace(here.place, dsn=f"{here.place.dsn} dbname=nobody connect_timeout=2")
    with pytest.raises(SourceGoneError), source_of(nowhere):
        pass
    with pytest.raises(SourceGoneError), Stream.opened(nowhere, "mv_x"):
        pass


def test_a_silent_source_is_given_up(pair: tuple[Home, Home], tenant: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = pair
    monkeypatch.setattr(stream, "STATUS_S", 0.01)
    with moving(here, there, tenant) as follower:
        # It answers for as long as it lives, so that it is never taken for silent.
        assert any(isinstance(follower.stream.read(5), KeepAlive) for _ in range(20))
        monkeypatch.setattr(stream, "SILENCE_S", 0.2)
        monkeypatch.setattr(Stream, "_readable", lambda *_: False)
        with pytest.raises(SourceGoneError, match="silent"):
            follower.pump_until(lambda: False, what="the end")


def test_a_quiet_stream_outlives_the_time_after_which_the_source_gives_up(
    pair: tuple[Home, Home], tenant: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = pair
    monkeypatch.setitem(places.SETTINGS, "wal_sender_timeout", "500ms")
    monkeypatch.setattr(stream, "STATUS_S", 0.1)
    with moving(here, there, tenant) as follower:
        with pytest.raises(NotCaughtUpError):
            follower.pump_until(lambda: False, what="nothing", deadline_s=2)
        fill(here, tenant, "afterwards")
        caught_up(follower, here)
        assert same(here, there, tenant)


def test_the_source_lives_through_a_target_that_takes_long(
    pair: tuple[Home, Home], tenant: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = pair
    monkeypatch.setitem(places.SETTINGS, "wal_sender_timeout", "500ms")
    monkeypatch.setattr(stream, "STATUS_S", 0.1)
    monkeypatch.setattr("provisioning.moves.pipeline.LOOK_S", 0.1)
    with moving(here, there, tenant) as follower, there.superuser() as holder, ThreadPoolExecutor(1) as elsewhere:
        holder.execute("BEGIN; LOCK TABLE things")
        fill(here, tenant, "streamed")
        waiting = elsewhere.submit(caught_up, follower, here)
        holder.execute("SELECT pg_sleep(2)")
        assert not waiting.done()
        holder.execute("COMMIT")
        waiting.result()
        fill(here, tenant, "afterwards")
        caught_up(follower, here)
        assert same(here, there, tenant)


def test_marks_of_others_are_not_taken_for_ones_own(pair: tuple[Home, Home], tenant: UUID) -> None:
    here, there = pair
    with moving(here, there, tenant) as follower:
        here.ask("SELECT pg_logical_emit_message(true, 'mv_other', '1')")
        here.ask("SELECT pg_logical_emit_message(false, %(name)s, '1')", name=forward_name(tenant) + "0")
        with pytest.raises(NotCaughtUpError, match="a mark of another's"):
            follower.pump_until(lambda: follower.has_passed(b"1"), what="a mark of another's", deadline_s=0.5)
        caught_up(follower, here)


def test_the_fence_is_seen_behind_all_that_came_before_it_and_is_not_applied(
    pair: tuple[Home, Home], tenant: UUID
) -> None:
    here, there = pair
    fence = "SELECT epoch, state FROM tenancy.fences"
    with moving(here, there, tenant) as follower:
        before = there.ask(fence)
        assert follower.fence is None
        fill(here, tenant, "streamed")
        here.do("UPDATE tenancy.fences SET epoch = 7, state = 'frozen'")
        follower.wait_for_fence(7, "frozen")
        assert same(here, there, tenant)
        assert follower.fence == FenceSeen(epoch=7, state="frozen")
        assert there.ask(fence) == before == [(1, "open")]
        with pytest.raises(NotCaughtUpError, match="open at epoch 8"):
            follower.wait_for_fence(8, "open", deadline_s=0.2)


@pytest.fixture
def back(pair: tuple[Home, Home], tenant: UUID) -> tuple[Home, Home]:
    """A new home and the old one, the same, with a way back."""
    here, there = pair
    with moving(here, there, tenant) as follower:
        prepare_way_back(there.place, tables_between(here, there), tenant)
        # What the move itself writes in the new home must not flow back.
        fill(here, tenant, "streamed")
        caught_up(follower, here)
    begin_way_back(there.place, here.place, tenant)
    return there, here


def test_what_changes_in_the_new_home_flows_back_while_nobody_looks_and_while_somebody_does(
    back: tuple[Home, Home], tenant: UUID
) -> None:
    new, old = back
    tables = tables_between(new, old)
    assert same(new, old, tenant)
    for number in range(3):
        made = fill(new, tenant, f"unseen {number}")
        with way_back(new.place, old.place, tables, tenant) as follower:
            caught_up(follower, new)
            assert same(new, old, tenant)
            new.do("UPDATE things SET name = 'seen' WHERE id = %(id)s", id=made)
            caught_up(follower, new)
            assert same(new, old, tenant)
    clear_ways(old, new, tenant)


def test_of_two_who_read_one_stream_the_second_is_refused(
    back: tuple[Home, Home], tenant: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    new, old = back
    tables = tables_between(new, old)
    monkeypatch.setattr(stream, "TAKEN_TRIES", 2)
    # Of one name, whoever begins ends the other.
    strange = [replace(home.place, name="tests") for home in back]
    with way_back(new.place, old.place, tables, tenant) as follower:
        with pytest.raises(SlotTakenError), way_back(strange[0], strange[1], tables, tenant):
            pass
        fill(new, tenant, "still")
        caught_up(follower, new)
    clear_ways(old, new, tenant)


def test_a_slot_that_was_dropped_is_lost(back: tuple[Home, Home], tenant: UUID) -> None:
    new, old = back
    new.ask("SELECT pg_drop_replication_slot(%(name)s)", name=back_name(tenant))
    with pytest.raises(SlotLostError), way_back(new.place, old.place, tables_between(new, old), tenant):
        pass


def test_a_slot_whose_changes_were_thrown_away_is_lost(back: tuple[Home, Home], tenant: UUID) -> None:
    new, old = back
    with new.superuser() as server:
        server.execute("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'")
        server.execute("SELECT pg_reload_conf()")
        for number in range(4):
            fill(new, tenant, f"kept for nobody {number}")
            server.execute("SELECT pg_switch_wal()")
        server.execute("CHECKPOINT")
        try:
            status = "SELECT wal_status FROM pg_replication_slots WHERE slot_name = %(name)s"
            assert new.ask(status, name=back_name(tenant)) == [("lost",)]
            with pytest.raises(SlotLostError), way_back(new.place, old.place, tables_between(new, old), tenant):
                pass
        finally:
            server.execute("ALTER SYSTEM RESET max_slot_wal_keep_size")
            server.execute("SELECT pg_reload_conf()")
    clear_ways(old, new, tenant)


def test_a_table_that_is_emptied_for_all_stops_the_stream(pair: tuple[Home, Home], tenant: UUID) -> None:
    here, there = pair
    with moving(here, there, tenant) as follower:
        here.do(f"ALTER PUBLICATION {forward_name(tenant)} SET (publish = 'insert, update, delete, truncate')")
        here.do("TRUNCATE feelings")
        with pytest.raises(Exception, match="emptied"):
            caught_up(follower, here)


def test_a_column_that_is_added_meanwhile_stops_the_stream(pair: tuple[Home, Home], tenant: UUID) -> None:
    here, there = pair
    with moving(here, there, tenant) as follower:
        here.do("ALTER TABLE things ADD COLUMN more text")
        fill(here, tenant, "with more")
        with pytest.raises(Exception, match="columns of things"):
            caught_up(follower, here)


def test_what_the_source_refuses_is_told_in_words(pair: tuple[Home, Home]) -> None:
    here, _ = pair
    with (
        source_of(here.place) as connection,
        Stream.opened(here.place, "mv_x") as opened,
        pytest.raises(SourceFailedError, match="replication slot name"),
    ):
        create_slot(opened.connection, connection, "No Slot", temporary=True, snapshot=False)


def test_a_connection_has_the_settings_of_a_move_whatever_the_database_says(pair: tuple[Home, Home]) -> None:
    _, there = pair
    there.do(f"ALTER DATABASE {there.database} SET datestyle = 'SQL, DMY'")
    there.do(f"ALTER DATABASE {there.database} SET idle_in_transaction_session_timeout = '1s'")
    with target_of(there.place) as connection:
        shown = {name: connection.execute(f"SHOW {name}".encode()).fetchone() for name in places.SETTINGS}
    assert str(shown["datestyle"]).startswith("('ISO")
    assert shown["idle_in_transaction_session_timeout"] == ("0",)
    assert shown["wal_sender_timeout"] == ("1min",)


def test_whoever_waits_is_told_while_the_source_is_never_quiet(
    pair: tuple[Home, Home], tenant: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = pair
    with moving(here, there, tenant) as follower, source_of(here.place) as connection:
        read, marks, numbers = Stream.read, [follower.mark(connection)], count(1)

        def busy(opened: Stream, wait_s: float) -> object:
            # Whenever the stream is about to be empty, the tenant has written something more.
            here.do("UPDATE things SET name = name || '.'")
            assert next(numbers) < 300, "whoever waits is never told"
            return read(opened, max(wait_s, 1.0))

        monkeypatch.setattr(Stream, "read", busy)
        follower.pump_until(lambda: follower.has_passed(marks[0]), what="a mark")
        here.do("UPDATE tenancy.fences SET state = 'frozen'")
        follower.wait_for_fence(1, "frozen")
        monkeypatch.setattr(Stream, "read", read)
        caught_up(follower, here)
        assert same(here, there, tenant)


class CalledOffError(Exception):
    """Nobody wants it any more."""


@pytest.mark.parametrize("end", ["source", "target"])
def test_a_copy_that_waits_for_a_lock_hears_that_it_is_called_off(
    home: NewHome, other: Server, tenant: UUID, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a busy machine it might give up by itself before it has asked.
    monkeypatch.setitem(places.SETTINGS, "lock_timeout", "60s")
    here, there = home(Model.BRIDGE), home(Model.POOL, other)
    fill(here, tenant, "copied")
    schemas, tables = (here.schema, there.schema), tables_between(here, there)
    waits, mode = (here, "ACCESS EXCLUSIVE") if end == "source" else (there, "SHARE")

    def tell(_: Progress) -> None:
        if waits.ask("SELECT FROM pg_locks WHERE locktype = 'relation' AND NOT granted"):
            raise CalledOffError

    with waits.superuser() as others, others.transaction(force_rollback=True):
        others.execute(f"LOCK TABLE feelings IN {mode} MODE")
        with pytest.raises(CalledOffError), source_of(here.place) as source, target_of(there.place) as target:
            copy_rows(source, target, schemas, tables, tenant, tell=tell)
