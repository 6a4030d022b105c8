"""Whatever a row holds arrives as it was: in the first copy, in the stream, and between homes of every model."""

from __future__ import annotations

from itertools import permutations
from uuid import UUID

import pytest

from control_plane.domain.ids import new_id
from control_plane.domain.server import Server
from control_plane.domain.tenant import Model
from provisioning.moves.pipeline import Pipeline
from tests.moves.conftest import NewHome
from tests.moves.homes import Home
from tests.moves.moving import caught_up, fill, moving, moving_back, same, turn_round

PAIRS = [*permutations(Model, 2), (Model.SILO, Model.SILO), (Model.POOL, Model.POOL)]


@pytest.mark.slow
@pytest.mark.parametrize("elsewhere", [False, True], ids=["one_server", "two_servers"])
@pytest.mark.parametrize(("source", "target"), PAIRS, ids=str)
def test_all_of_a_tenant_is_moved(
    home: NewHome, other: Server, one: Server, tenant: UUID, source: Model, target: Model, elsewhere: bool
) -> None:
    here, there = home(source), home(target, other if elsewhere else one)
    fill(here, tenant, "copied")
    with moving(here, there, tenant) as follower:
        assert same(here, there, tenant)
        fill(here, tenant, "streamed")
        assert not same(here, there, tenant)
        caught_up(follower, here)
        assert same(here, there, tenant)


@pytest.fixture
def pair(home: NewHome, other: Server) -> tuple[Home, Home]:
    """From a pool to a silo on another server."""
    return home(Model.POOL), home(Model.SILO, other)


CHANGES = {
    "a value stored apart that stays": "UPDATE things SET name = 'renamed' WHERE id = %(id)s",
    "a value stored apart that changes": "UPDATE things SET big = repeat('z', 9000) WHERE id = %(id)s",
    "a value stored apart that goes": "UPDATE things SET big = NULL WHERE id = %(id)s",
    "a value stored apart in a row that is sent whole": "UPDATE feelings SET mood = 'sad' WHERE id = %(id)s",
    "values that become NULL": "UPDATE things SET doc = NULL, tags = NULL, raw = NULL, ratio = NULL WHERE id = %(id)s",
    "values that were NULL": "UPDATE things SET doc = '[1]', tags = '{a}', raw = 'b', ratio = 'NaN' WHERE name IS NULL",
    "nothing": "UPDATE things SET name = name WHERE id = %(id)s",
    "all rows": "UPDATE things SET amount = amount + 1, name = 'all'",
    "a key": "UPDATE events SET id = gen_random_uuid() WHERE id = %(id)s AND at < '2026-01-01'",
    "a key, and with it the partition": "UPDATE events SET at = '2026-07-07' WHERE id = %(id)s AND at < '2026-01-01'",
    "the key of a row that is sent whole": "UPDATE feelings SET id = gen_random_uuid(), whole = 'w' WHERE id = %(id)s",
    "a key beside a value stored apart": "UPDATE things SET id = gen_random_uuid() WHERE name = 'alone'",
    "a row that goes": "DELETE FROM events WHERE id = %(id)s AND at < '2026-01-01'",
    "a row that is sent whole and goes": "DELETE FROM feelings WHERE id = %(id)s AND whole LIKE 'y%%'",
    "rows that refer to each other": "UPDATE parts SET parent_id = NULL, note = 'orphan'",
    "children and parents that go": (
        "WITH gone AS (DELETE FROM parts WHERE note NOT LIKE '%%kept') DELETE FROM things WHERE name <> 'kept'"
    ),
}


ALONE = "INSERT INTO things (tenant_id, id, name, big) VALUES (%(tenant)s, %(alone)s, 'alone', repeat('b', 9000))"


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_arrives_whether_its_row_was_copied_or_streamed_and_flows_back(
    pair: tuple[Home, Home], tenant: UUID, change: str
) -> None:
    here, there = pair
    copied = fill(here, tenant, "copied")
    here.do(ALONE, tenant=tenant, alone=new_id())
    with moving(here, there, tenant) as follower:
        streamed = fill(here, tenant, "streamed")
        # Kept, so that every table has a row whatever goes.
        fill(here, tenant, "kept")
        for made in (copied, streamed):
            here.do(change, id=made)
        caught_up(follower, here)
        assert same(here, there, tenant)
        assert follower.applier.written > 0
        turn_round(follower, here, there, tenant)
    with moving_back(here, there, tenant) as follower:
        made_there = fill(there, tenant, "made there")
        fill(there, tenant, "kept")
        there.do(change, id=made_there)
        assert not same(there, here, tenant)
        caught_up(follower, there)
        assert same(there, here, tenant)


def test_what_is_rolled_back_does_not_arrive_and_what_was_begun_before_the_copy_does(
    pair: tuple[Home, Home], tenant: UUID
) -> None:
    here, there = pair
    fill(here, tenant, "copied")
    with moving(here, there, tenant) as follower, here.superuser() as connection:
        connection.execute("BEGIN; DELETE FROM parts; DELETE FROM things; ROLLBACK")
        connection.execute(
            "BEGIN; SAVEPOINT a; DELETE FROM events; ROLLBACK TO a; UPDATE things SET name = 'b'; COMMIT"
        )
        caught_up(follower, here)
        assert same(here, there, tenant)
        assert {row["name"] for row in there.rows(tenant)["things"]} == {"b"}


@pytest.mark.slow
def test_a_large_transaction_arrives_whole_or_not_at_all(
    pair: tuple[Home, Home], tenant: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = pair
    fill(here, tenant, "copied")
    numbers = "SELECT %(tenant)s, gen_random_uuid(), n FROM generate_series(1, 12000) n"
    seen = []

    def looked(pipeline: Pipeline) -> None:
        seen.append(there.ask("SELECT count(*) FROM things")[0][0])
        round_trip(pipeline)

    round_trip = Pipeline.round_trip
    with moving(here, there, tenant) as follower:
        ((before,),) = there.ask("SELECT count(*) FROM things")
        monkeypatch.setattr(Pipeline, "round_trip", looked)
        here.do(
            f"INSERT INTO things (tenant_id, id, name) {numbers}",
            "UPDATE things SET name = name || '!' WHERE name ~ '^[0-9]+$'",
            tenant=tenant,
        )
        caught_up(follower, here)
        assert follower.applier.written == 24_000
        assert set(seen) == {before}
        assert same(here, there, tenant)
