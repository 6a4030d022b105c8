"""Rows are erased by the key, some at a time: none stays, and what is gone is not walked over again."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import pytest

from control_plane.domain.ids import new_id
from control_plane.domain.tenant import Model
from provisioning import erasing
from provisioning.duty import Duty
from provisioning.erasing import erase_rows_over
from provisioning.moves.places import target_of
from provisioning.moves.ways import erase_tenant
from provisioning.roles import OWNER, Connection
from tests.moves.conftest import NewHome
from tests.moves.homes import NAMES, Home
from tests.moves.moving import fill

MANY = 1200
BATCH_ROWS = 30
MANY_THINGS = """
INSERT INTO things (tenant_id, id, name) SELECT %(tenant)s, gen_random_uuid(), n FROM generate_series(1, %(many)s) n
"""
WALKED = """
SELECT coalesce(sum(idx_tup_read), 0)::int FROM pg_stat_user_indexes WHERE relname = 'things'
"""
ODD = {
    "no key": ("odd (tenant_id uuid, n int)", "%(t)s, 1), (%(t)s, 1"),
    "one row a tenant": ("odd (tenant_id uuid PRIMARY KEY)", "%(t)s"),
    "times without an end": (
        "odd (tenant_id uuid, at timestamptz, PRIMARY KEY (tenant_id, at))",
        "%(t)s, 'infinity'), (%(t)s, '-infinity'), (%(t)s, '0044-03-15 BC'), (%(t)s, now()",
    ),
    "names and values to be quoted": (
        'odd (tenant_id uuid, "Odd ""%%s" text, n numeric, PRIMARY KEY (n, tenant_id, "Odd ""%%s"))',
        "%(t)s, '', 1), (%(t)s, '''%%s\\', 1), (%(t)s, '\"', 'NaN'), (%(t)s, 'z', -1e30), (%(t)s, 'Z', -1e30",
    ),
}


@pytest.fixture
def pool(home: NewHome, tenant: UUID) -> Iterator[Home]:
    """A pool with rows of the tenant, and of a neighbour who has the same ones at the end."""
    here, neighbour = home(Model.POOL), new_id()
    for each in (tenant, neighbour):
        fill(here, each, f"of {each}")
    before = here.rows(neighbour)
    yield here
    assert here.rows(neighbour) == before


def nothing_left(home: Home, tenant_id: UUID) -> bool:
    """Whether no table of the chain's has a row of the tenant."""
    return home.rows(tenant_id) == {name: [] for name in NAMES}


def test_what_is_gone_is_not_walked_over_again_while_somebody_holds_an_old_snapshot(
    pool: Home, tenant: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasing, "BATCH_ROWS", BATCH_ROWS)
    pool.do(MANY_THINGS, tenant=tenant, many=MANY)
    with pool.superuser() as old, old.transaction(), target_of(pool.place) as mover:
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        old.execute("SELECT FROM things")
        # Nothing was analysed: in the table itself it would be walked over unseen.
        mover.execute("SET enable_seqscan = off")
        before = walked(mover, pool)
        erase_rows_over(mover, pool.schema, tenant)
        # Each once to find where its batch ends and once to delete it; both again when nothing is left.
        assert MANY < walked(mover, pool) - before < 5 * MANY
    assert nothing_left(pool, tenant)


def walked(mover: Connection, pool: Home) -> int:
    """How many entries of its indexes were looked at so far, with those by this connection."""
    mover.execute("SELECT pg_stat_force_next_flush()")
    ((entries,),) = pool.ask(WALKED)
    return int(entries)


def test_rows_that_come_to_lie_behind_are_erased_too(pool: Home, tenant: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasing, "BATCH_ROWS", 1)
    for number in range(3):
        fill(pool, tenant, f"number {number}")
    changes = [
        "UPDATE things SET id = '00000000-0000-0000-0000-000000000001' WHERE name = 'number 2'",
        "INSERT INTO things (tenant_id, id) VALUES (%(tenant)s, '00000000-0000-0000-0000-000000000002')",
        "UPDATE things SET name = name || ' elsewhere' WHERE tenant_id = %(tenant)s",
    ]

    def rest(_: float) -> None:
        if changes and pool.ask("SELECT count(*) FROM things WHERE tenant_id = %(t)s", t=tenant) < [(10,)]:
            pool.do("SET session_replication_role = replica", changes.pop(0), tenant=tenant)

    erase_tenant(pool.place, tenant, duty=Duty(0.5, sleep=rest))
    assert (changes, nothing_left(pool, tenant)) == ([], True)


@pytest.mark.parametrize(("table", "values"), ODD.values(), ids=ODD)
def test_whatever_the_key_is_its_rows_go_and_no_others(
    pool: Home, tenant: UUID, monkeypatch: pytest.MonkeyPatch, table: str, values: str
) -> None:
    monkeypatch.setattr(erasing, "BATCH_ROWS", 1)
    other = new_id()
    pool.do(f"SET ROLE {OWNER}", f"CREATE TABLE {table}")
    for each in (tenant, other):
        pool.do(f"INSERT INTO odd VALUES ({values})", t=each)
    pool.do("ANALYZE odd")
    ((rows,),) = pool.ask("SELECT count(*) FROM odd WHERE tenant_id = %(t)s", t=other)
    erase_tenant(pool.place, tenant)
    assert pool.ask("SELECT tenant_id, count(*) FROM odd GROUP BY 1") == [(other, rows)]
