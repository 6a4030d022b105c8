"""A move as far as the lower half goes: a tenant with rows, changes while it is followed, and what has to be equal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from control_plane.domain.ids import new_id
from provisioning.duty import Duty
from provisioning.moves.comparing import Difference, differences, sums
from provisioning.moves.following import Follower
from provisioning.moves.places import freeze_view, source_of, target_of
from provisioning.moves.tables import Table
from provisioning.moves.ways import (
    begin_way_back,
    clear_source,
    clear_target,
    clear_way_there,
    moved_tables,
    prepare_way_back,
    way_back,
    way_there,
)
from tests.moves.homes import Home, metadata

LONG = "repeat('x', 9000) || %(mark)s"
"""Too long for a row: it is stored apart."""
FILLED = (
    """
INSERT INTO things (tenant_id, id, name, doc, tags, raw, ratio, amount, at, gap, day, yes, big, "Odd ""name")
VALUES (%(tenant)s, %(id)s, %(mark)s, '{"a": [1, null, "\\u00e4"], "b": 1.10}', ARRAY['x', NULL, 'y,"{}', ''],
        '\\x00ff0a5c', 'NaN', 1234567890.10, '2026-03-29 02:30:00.123456+02', '1 mon -3 days 04:05:06.7', 'infinity',
        true, repeat('x', 9000) || %(mark)s, E'tab\\t, line\\n, quote '' and \\\\N'),
       (%(tenant)s, gen_random_uuid(), NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
       (%(tenant)s, gen_random_uuid(), '', 'null', '{}', '', '-Infinity', 'NaN', '-infinity', '0', '0044-03-15 BC',
        false, '', '')
""",
    """
INSERT INTO parts (tenant_id, id, thing_id, note) VALUES (%(tenant)s, %(part)s, %(id)s, %(mark)s)
""",
    """
INSERT INTO parts (tenant_id, id, thing_id, parent_id, note)
VALUES (%(tenant)s, gen_random_uuid(), %(id)s, %(part)s, 'child of ' || %(mark)s)
""",
    """
INSERT INTO feelings (tenant_id, id, mood, moods, whole)
VALUES (%(tenant)s, %(id)s, 'glad', '{sad,NULL,glad}', repeat('y', 5000))
""",
    """
INSERT INTO events (tenant_id, id, at, what)
VALUES (%(tenant)s, %(id)s, '2025-05-05', %(mark)s), (%(tenant)s, %(id)s, '2026-06-06', %(mark)s)
""",
)
EMPTIED = tuple(f"DELETE FROM {table} WHERE tenant_id = %(tenant)s" for table in ("parts", "things", "feelings"))


def fill(home: Home, tenant_id: UUID, mark: str) -> UUID:
    """Some rows in every table, in one transaction; the id of those that can be told by it."""
    made = new_id()
    home.do(*FILLED, tenant=tenant_id, id=made, part=new_id(), mark=mark)
    return made


@contextmanager
def moving(source: Home, target: Home, tenant_id: UUID) -> Iterator[Follower]:
    """The tenant, copied and followed."""
    with way_there(source.place, target.place, tables_between(source, target), tenant_id) as follower:
        yield follower


def turn_round(follower: Follower, source: Home, target: Home, tenant_id: UUID) -> None:
    """From now on what is changed in the target can flow back; nobody writes in either meanwhile."""
    prepare_way_back(target.place, tables_between(source, target), tenant_id)
    caught_up(follower, source)
    begin_way_back(target.place, source.place, tenant_id)


@contextmanager
def moving_back(source: Home, target: Home, tenant_id: UUID) -> Iterator[Follower]:
    """The tenant lives in the target, and what is changed there flows back."""
    clear_way_there(source.place, target.place, tenant_id)
    with way_back(target.place, source.place, tables_between(source, target), tenant_id) as follower:
        yield follower
    clear_ways(source, target, tenant_id)


def clear_ways(source: Home, target: Home, tenant_id: UUID) -> None:
    """Leave nothing of the way there nor of the way back."""
    clear_source(source.place, tenant_id)
    clear_target(target.place, tenant_id)


def tables_between(source: Home, target: Home) -> tuple[Table, ...]:
    """What is moved."""
    return moved_tables(source.place, target.place, metadata())


def caught_up(follower: Follower, source: Home) -> None:
    """Everything that is committed is in the target."""
    with source_of(source.place) as connection:
        follower.catch_up(connection)


def differing(source: Home, target: Home, tenant_id: UUID, duty: Duty | None = None) -> list[Difference]:
    """How the two homes differ, as a move itself sees it."""
    tables = tables_between(source, target)
    with source_of(source.place) as here, target_of(target.place) as there:
        freeze_view(here)
        freeze_view(there)
        return differences(
            sums(here, source.schema, tables, tenant_id, duty=duty),
            sums(there, target.schema, tables, tenant_id, duty=duty),
        )


def same(source: Home, target: Home, tenant_id: UUID) -> bool:
    """Whether both have the same rows of the tenant, by the move's own sums and row by row; and some at all."""
    here, there = source.rows(tenant_id), target.rows(tenant_id)
    equal = here == there
    assert equal is (differing(source, target, tenant_id) == [])
    return equal and all(here.values())


@contextmanager
def references_checked(home: Home) -> Iterator[None]:
    """Have its server let nobody leave references unchecked, nor triggers unfired."""
    with home.superuser() as admin:
        admin.execute("REVOKE SET ON PARAMETER session_replication_role FROM copyhold_mover")
        try:
            yield
        finally:
            admin.execute("GRANT SET ON PARAMETER session_replication_role TO copyhold_mover")
