"""The first copy: nothing of the app's runs while it is made, and afterwards plans know what is there."""

from __future__ import annotations

from uuid import UUID

import pytest
from psycopg.pq import TransactionStatus

from control_plane.domain.ids import new_id
from control_plane.domain.server import Server
from control_plane.domain.tenant import Model
from provisioning.duty import Duty
from provisioning.moves import copying
from provisioning.moves.copying import CHANGED, ROUGHLY, Progress, copy_rows
from provisioning.moves.places import LOCK_TIMEOUT_S, source_of, target_of
from tests.moves.conftest import NewHome
from tests.moves.homes import Home
from tests.moves.moving import fill, references_checked, tables_between
from tests.waiting import until

MANY = 500
FINELY = 101
"""As many bounds has a histogram of the usual statistics."""
THINGS = "INSERT INTO things (tenant_id, id, name) SELECT %(tenant)s, gen_random_uuid(), 'n' || n FROM "
EVENTS = "INSERT INTO events (tenant_id, id, at, what) SELECT %(tenant)s, gen_random_uuid(), '2026-02-02', n FROM "
CHILD_FIRST = """
INSERT INTO parts (tenant_id, id, parent_id) VALUES (%(tenant)s, %(child)s, %(parent)s), (%(tenant)s, %(parent)s, NULL)
"""
BOUNDS = """
SELECT cardinality(histogram_bounds::text::text[]) FROM pg_stats
 WHERE schemaname = %(schema)s AND tablename = %(table)s AND attname = %(column)s
"""
CHANGES = "SELECT n_mod_since_analyze FROM pg_stat_user_tables WHERE relid = 'things'::regclass"


SETTINGS = """
SELECT current_setting('lock_timeout'), current_setting('default_statistics_target'),
       current_setting('vacuum_cost_delay')
"""
DELAY_NOW = """
CREATE FUNCTION delay_now(given text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RAISE NOTICE 'delay %%', current_setting('vacuum_cost_delay');
    RETURN given;
END $$
"""
LOUD = (
    "CREATE FUNCTION loud() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'an app''s trigger has fired'; END$$",
    "CREATE TRIGGER loud BEFORE INSERT ON things FOR EACH ROW EXECUTE FUNCTION loud()",
)


def some(many: int) -> str:
    return f"generate_series(1, {many}) AS n"


def copied(here: Home, there: Home, tenant: UUID, duty: Duty | None = None) -> list[str | None]:
    """Returns what the target's server has said meanwhile."""
    told: list[str | None] = []
    with source_of(here.place) as source, target_of(there.place) as target:
        target.add_notice_handler(lambda notice: told.append(notice.message_primary))
        copy_rows(source, target, (here.schema, there.schema), tables_between(here, there), tenant, duty=duty)
        assert target.execute(SETTINGS).fetchone() == (f"{LOCK_TIMEOUT_S}s", "100", "0")
    return told


def bounds(home: Home, table: str, column: str) -> int | None:
    found = home.ask(BOUNDS, schema=home.schema, table=table, column=column)
    return found[0][0] if found else None


def test_no_trigger_of_the_apps_fires_and_later_ones_do(home: NewHome, other: Server, tenant: UUID) -> None:
    here, there = home(Model.POOL), home(Model.BRIDGE, other)
    there.do(*LOUD)
    fill(here, tenant, "copied")
    with source_of(here.place) as source, target_of(there.place) as target:
        copy_rows(source, target, (here.schema, there.schema), tables_between(here, there), tenant)
        assert there.rows(tenant) == here.rows(tenant)
        assert target.execute("SHOW session_replication_role").fetchone() == ("origin",)


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_in_pieces_and_at_once_it_is_the_same(
    home: NewHome, other: Server, tenant: UUID, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "CHUNK_BYTES", 1)
    here, there = home(Model.POOL), home(Model.BRIDGE, other)
    for number in range(3):
        fill(here, tenant, f"number {number}")
    tables, told, states = tables_between(here, there), list[Progress](), set[TransactionStatus]()
    with source_of(here.place) as source, target_of(there.place) as target:
        # While a COPY is under way, its server may be busy with what it was sent.
        duty = Duty(share, sleep=lambda _: states.add(target.info.transaction_status))
        size = copy_rows(source, target, (here.schema, there.schema), tables, tenant, tell=told.append, duty=duty)
    rows = here.rows(tenant)
    assert there.rows(tenant) == rows
    assert size.rows == told[-1].rows == sum(map(len, rows.values()))
    assert size.bytes == told[-1].bytes > 0
    assert states == ({TransactionStatus.INTRANS} if duty.rests else set())


def test_where_references_are_checked_a_table_that_refers_to_itself_is_copied_as_well(
    home: NewHome, other: Server, tenant: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "CHUNK_BYTES", 1)
    here, there = home(Model.POOL), home(Model.BRIDGE, other)
    here.do(CHILD_FIRST, tenant=tenant, child=new_id(), parent=new_id())
    tables, rests = tables_between(here, there), list[float]()
    with references_checked(there), source_of(here.place) as source, target_of(there.place) as target:
        copy_rows(source, target, (here.schema, there.schema), tables, tenant, duty=Duty(0.5, sleep=rests.append))
    assert there.rows(tenant) == here.rows(tenant)
    assert len(rests) > 2


@pytest.mark.parametrize("model", [Model.BRIDGE, Model.SILO])
def test_an_empty_home_gets_rough_ones_and_autovacuum_is_left_to_make_the_others(
    home: NewHome, other: Server, tenant: UUID, model: Model
) -> None:
    here, there = home(Model.POOL), home(model, other)
    here.do(THINGS + some(MANY), tenant=tenant)
    there.do("ALTER TABLE things SET (autovacuum_enabled = off)")
    copied(here, there, tenant)
    assert bounds(there, "things", "id") == ROUGHLY + 1
    until(lambda: there.ask(CHANGES) == [(MANY,)], what="the rows that autovacuum is to look at")


def test_a_new_table_that_autovacuum_passes_by_gets_fine_ones(home: NewHome, other: Server, tenant: UUID) -> None:
    here, there = home(Model.POOL), home(Model.BRIDGE, other)
    here.do(THINGS + some(CHANGED), tenant=tenant)
    copied(here, there, tenant)
    assert bounds(there, "things", "id") == CHANGED


@pytest.mark.parametrize(("share", "delay"), [(0.5, "1ms"), (1.0, "0")])
def test_of_a_partitioned_table_autovacuum_makes_none_so_they_are_fine_and_made_slowly_unless_somebody_waits(
    home: NewHome, other: Server, tenant: UUID, share: float, delay: str
) -> None:
    here, there = home(Model.POOL), home(Model.BRIDGE, other)
    here.do(EVENTS + some(MANY), tenant=tenant)
    # ANALYZE computes what an index is of.
    there.do(DELAY_NOW, "CREATE INDEX ON events (delay_now(what))")
    told = copied(here, there, tenant, Duty(share, sleep=lambda _: None))
    assert bounds(there, "events", "id") == FINELY
    assert told[-1] == f"delay {delay}"


@pytest.mark.parametrize(
    ("many", "expected"), [(MANY // 20, FINELY), (MANY // 5, FINELY), (MANY // 4, ROUGHLY + 1), (MANY, ROUGHLY + 1)]
)
def test_those_of_a_table_are_kept_unless_autovacuum_is_due(
    home: NewHome, other: Server, tenant: UUID, many: int, expected: int
) -> None:
    here, there = home(Model.BRIDGE), home(Model.POOL, other)
    there.do(THINGS + some(MANY), "ANALYZE things", tenant=new_id())
    there.do("ALTER TABLE things SET (autovacuum_enabled = off)")
    here.do(THINGS + some(many), tenant=tenant)
    copied(here, there, tenant)
    assert bounds(there, "things", "id") == expected
