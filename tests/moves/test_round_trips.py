"""How often the target is asked: by batches, not by rows. And what it lets the mover do."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from uuid import UUID

import psycopg
import pytest

from control_plane.domain.server import Server
from control_plane.domain.tenant import Model
from control_plane.doors import SOCKETS
from provisioning.duty import Duty
from provisioning.moves import fences
from provisioning.moves.comparing import Sum, differences, sums
from provisioning.moves.copying import ignore_triggers, sizes
from provisioning.moves.pipeline import Pipeline
from provisioning.moves.places import freeze_view, log_end, source_of, target_of
from provisioning.moves.sequences import advance_sequences
from provisioning.moves.tables import tables_of
from provisioning.roles import SUPERUSER
from tests.moves.conftest import NewHome
from tests.moves.homes import Home, metadata
from tests.moves.moving import caught_up, differing, fill, moving, references_checked, same, tables_between
from tests.round_trips import counted_round_trips

WITHIN_MS = 200
MANY = """
INSERT INTO things (tenant_id, id, name) SELECT %(tenant)s, gen_random_uuid(), n::text FROM generate_series(1, 3000) n
"""


@pytest.fixture
def pair(home: NewHome, other: Server, tenant: UUID) -> tuple[Home, Home]:
    """From a silo to a pool on another server, with rows."""
    here, there = home(Model.SILO), home(Model.POOL, other)
    fill(here, tenant, "copied")
    return here, there


def test_a_large_transaction_takes_a_round_trip_a_batch(pair: tuple[Home, Home], tenant: UUID) -> None:
    here, there = pair
    with moving(here, there, tenant) as follower:
        here.do(MANY, tenant=tenant)
        caught_up(follower, here)
        # 3,000 rows by 500, then the progress and the commit.
        assert follower.applier.round_trips <= 3000 // 500 + 3
        assert follower.applier.written == 3000
        assert same(here, there, tenant)


def test_many_small_transactions_become_few_of_the_targets(pair: tuple[Home, Home], tenant: UUID) -> None:
    here, there = pair
    with moving(here, there, tenant) as follower:
        with here.superuser() as connection, connection.pipeline():
            for number in range(300):
                connection.execute(
                    "UPDATE things SET name = %s WHERE name = 'copied' OR name ~ '^[0-9]'", [str(number)]
                )
        here.do("UPDATE things SET name = 'last' WHERE name = '299'")
        caught_up(follower, here)
        assert follower.applier.written == 301
        assert follower.applier.round_trips < 150
        assert same(here, there, tenant)


def test_a_value_that_no_connection_takes_at_once_gets_through(other: Server) -> None:
    waited = itertools.count(1)

    def meanwhile() -> None:
        assert next(waited) < 60, "neither side does anything"

    with psycopg.connect(SOCKETS.dsn(other, "postgres", SUPERUSER)) as connection:
        pipeline = Pipeline(connection, meanwhile)
        pipeline.send(b"SELECT length($1::text)", [b"x" * 20_000_000], tag=b"SELECT 1")
        pipeline.round_trip()


def test_a_caught_up_stream_costs_the_target_nothing(pair: tuple[Home, Home], tenant: UUID) -> None:
    here, there = pair
    with moving(here, there, tenant) as follower:
        for _ in range(3):
            caught_up(follower, here)
        assert follower.applier.round_trips == 0


@pytest.fixture
def strict(other: Server, pair: tuple[Home, Home]) -> Iterator[Home]:
    """The target, on a server that lets nobody leave references unchecked."""
    _, there = pair
    with references_checked(there):
        yield there


def test_a_server_that_checks_references_takes_it_all_the_same(
    pair: tuple[Home, Home], strict: Home, tenant: UUID
) -> None:
    here, _ = pair
    with target_of(strict.place) as connection:
        assert ignore_triggers(connection) is False
    with moving(here, strict, tenant) as follower:
        fill(here, tenant, "streamed")
        here.do("DELETE FROM parts WHERE parent_id IS NOT NULL", "DELETE FROM parts", "DELETE FROM things")
        fill(here, tenant, "afterwards")
        caught_up(follower, here)
        assert same(here, strict, tenant)


def test_a_freeze_is_a_round_trip_and_a_view_another(pair: tuple[Home, Home], tenant: UUID) -> None:
    """The tenant waits for each, and each waits for a processor."""
    here, there = pair
    with source_of(here.place) as source, counted_round_trips(source) as trips:
        assert fences.freeze(source, tenant, 1, WITHIN_MS) is not None
        assert trips() == 1
    with target_of(there.place) as target, counted_round_trips(target) as trips:
        assert freeze_view(target) > 0
        assert trips() == 1


def test_numbers_go_on_where_the_source_has_come_to(pair: tuple[Home, Home], tenant: UUID) -> None:
    here, there = pair
    # The neighbours of the pool are further in one of them.
    there.do("SELECT setval('parts_serial_seq', 1000)")
    with source_of(here.place) as source, target_of(there.place) as target:
        here_tables, there_tables = (
            tables_of(connection, home.schema, metadata()) for connection, home in ((source, here), (target, there))
        )
        for _ in range(2):
            advance_sequences(source, here_tables, target, there_tables)
    assert there.ask("SELECT nextval('things_number_seq'), nextval('parts_serial_seq')") == [(4, 1001)]


def test_a_sequence_that_was_never_used_begins_at_its_beginning(home: NewHome) -> None:
    here, there = home(Model.SILO), home(Model.SILO)
    tables = tables_between(here, there)
    with source_of(here.place) as source, target_of(there.place) as target:
        advance_sequences(source, tables, target, tables)
    assert there.ask("SELECT nextval('things_number_seq')") == [(1,)]


HARM = {
    "a row too few": ("DELETE FROM feelings", "feelings: 1 rows in the source, 0 in the target"),
    "a row too many": (
        "INSERT INTO events (tenant_id, id, at) SELECT tenant_id, gen_random_uuid(), '2026-01-01' FROM things LIMIT 1",
        "events: 2 rows in the source, 3 in the target",
    ),
    "another row instead": ("UPDATE feelings SET id = gen_random_uuid()", "feelings: the same number of rows, not the"),
    "a value": ("UPDATE things SET name = 'Copied' WHERE name = 'copied'", "things: the same number of rows, not the"),
    "NULL for nothing": ("UPDATE things SET name = NULL WHERE name = ''", "things: the same number of rows"),
    "nothing for NULL": ("UPDATE things SET big = '' WHERE big IS NULL", "things: the same number of rows"),
    "a number that the database gave": (
        "UPDATE things SET number = DEFAULT WHERE name IS NULL",
        "things: the same number of rows",
    ),
    "values that have changed places": (
        "UPDATE events SET what = CASE WHEN at < '2026-01-01' THEN 'a' ELSE 'b' END",
        "events: the same number of rows",
    ),
}


@pytest.mark.parametrize(("harm", "told"), HARM.values(), ids=HARM)
def test_a_difference_is_found_whoever_adds_up(pair: tuple[Home, Home], tenant: UUID, harm: str, told: str) -> None:
    here, there = pair
    with moving(here, there, tenant):
        pass
    for duty in (None, Duty(1.0)):
        assert differing(here, there, tenant, duty) == []
    there.do("SET session_replication_role = replica", harm)
    for duty in (None, Duty(1.0)):
        (found,) = differing(here, there, tenant, duty)
        assert str(found).startswith(told)


def test_the_same_is_found_whoever_adds_up(pair: tuple[Home, Home], tenant: UUID) -> None:
    here, _ = pair
    here.do("DELETE FROM feelings")
    with source_of(here.place) as connection:
        tables = tables_of(connection, here.schema, metadata())
        there, ours = (sums(connection, here.schema, tables, tenant, duty=duty) for duty in (None, Duty(1.0)))
    assert there == ours
    assert {name: each.rows for name, each in ours.items()} == {"things": 3, "parts": 2, "feelings": 0, "events": 2}


def test_homes_are_compared_as_they_were_when_their_views_were_frozen(pair: tuple[Home, Home], tenant: UUID) -> None:
    here, there = pair
    with moving(here, there, tenant):
        pass
    tables = tables_between(here, there)
    with source_of(here.place) as source, target_of(there.place) as target:
        freeze_view(source)
        freeze_view(target)
        fill(there, tenant, "later")
        views = [sums(each, home.schema, tables, tenant) for each, home in ((source, here), (target, there))]
        assert differences(*views) == []
        target.rollback()
        assert differences(views[0], sums(target, there.schema, tables, tenant)) != []
    assert differences({}, {"x": Sum()}) == []


def test_the_order_of_columns_makes_no_difference(pair: tuple[Home, Home], tenant: UUID) -> None:
    here, there = pair
    for home, columns in ((here, ("one", "two")), (there, ("two", "one"))):
        for column in columns:
            home.do(f"ALTER TABLE parts ADD COLUMN {column} text DEFAULT '{column}'")
    with moving(here, there, tenant) as follower:
        here.do("UPDATE parts SET one = 'of one'")
        fill(here, tenant, "streamed")
        caught_up(follower, here)
        assert same(here, there, tenant)
    found = []
    for home in (here, there):
        with source_of(home.place) as connection:
            found.append(sums(connection, home.schema, tables_of(connection, home.schema, metadata()), tenant))
    assert found[0] == found[1]


def test_how_much_there_is_to_move_is_known_beforehand(pair: tuple[Home, Home], tenant: UUID) -> None:
    here, _ = pair
    with source_of(here.place) as connection:
        found = sizes(connection, here.schema, tables_of(connection, here.schema, metadata()), tenant)
        assert {name: size.rows for name, size in found.items()} == {
            "things": 3,
            "parts": 2,
            "feelings": 1,
            "events": 2,
        }
        assert found["things"].bytes > 100
        assert log_end(connection) > 0
