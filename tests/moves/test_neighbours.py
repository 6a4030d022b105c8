"""Nothing of anybody else's comes out of a tenant's stream, and nothing of anybody else's is touched."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import pytest

from control_plane.domain.ids import new_id
from control_plane.domain.server import Server
from control_plane.domain.tenant import Model
from provisioning.moves import stream
from provisioning.moves.comparing import has_more_rows
from provisioning.moves.errors import ForeignRowError
from provisioning.moves.places import source_of
from provisioning.moves.slots import publish
from provisioning.moves.stream import Data, KeepAlive
from provisioning.moves.ways import erase_tenant
from tests.moves.conftest import NewHome
from tests.moves.homes import NAMES, Home
from tests.moves.moving import caught_up, fill, moving, same, tables_between

NOTHING: dict[str, list[object]] = {name: [] for name in NAMES}
OPENED = "INSERT INTO things (tenant_id, id, name, big) VALUES (%s, %s, %s, repeat('n', 3000))"
DOING = (
    "UPDATE things SET big = %(mark)s, name = name || 'n' WHERE tenant_id = %(tenant)s",
    "UPDATE events SET id = gen_random_uuid() WHERE tenant_id = %(tenant)s",
    "DELETE FROM parts WHERE tenant_id = %(tenant)s AND parent_id IS NOT NULL",
    "UPDATE tenancy.fences SET epoch = epoch + 1, state = 'frozen' WHERE tenant_id = %(tenant)s",
)


@pytest.fixture
def neighbour() -> UUID:
    """Another tenant of the pool."""
    return new_id()


@pytest.fixture
def pool(home: NewHome, neighbour: UUID) -> Home:
    """A pool with both of them."""
    here = home(Model.POOL)
    here.do("INSERT INTO tenancy.fences (tenant_id, epoch, state) VALUES (%(id)s, 1, 'open')", id=neighbour)
    return here


@pytest.fixture
def frames(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Everything that any stream has brought, as it came."""
    came: list[bytes] = []
    parsed = stream._parsed

    def kept(data: memoryview) -> Data | KeepAlive:
        came.append(bytes(data))
        return parsed(data)

    monkeypatch.setattr(stream, "_parsed", kept)
    return came


def test_what_neighbours_write_in_between_does_not_come_out(
    pool: Home, home: NewHome, other: Server, tenant: UUID, neighbour: UUID, frames: list[bytes]
) -> None:
    there = home(Model.SILO, other)
    for each in (tenant, neighbour):
        fill(pool, each, f"of {each}")
    with moving(pool, there, tenant) as follower, pool.superuser() as mine, pool.superuser() as theirs:
        for _ in range(3):
            mine.execute("BEGIN")
            theirs.execute("BEGIN")
            for number in range(20):
                theirs.execute(OPENED, [neighbour, new_id(), f"of {neighbour}"])
                mine.execute(OPENED, [tenant, new_id(), f"mine {number}"])
            theirs.execute("COMMIT")
            fill(pool, neighbour, f"of {neighbour}")
            mine.execute("COMMIT")
            pool.do(*DOING, tenant=neighbour, mark=f"of {neighbour}")
        # Both in one transaction, as no app can write them.
        pool.do("UPDATE things SET name = tenant_id::text")
        caught_up(follower, pool)
    everything = b"".join(frames)
    assert str(tenant).encode() in everything
    assert b"mine 7" in everything
    assert str(neighbour).encode() not in everything
    assert same(pool, there, tenant)
    assert there.rows(neighbour) == NOTHING


def test_a_row_of_somebody_elses_is_not_written_even_if_the_publication_lets_it_out(
    pool: Home, home: NewHome, tenant: UUID, neighbour: UUID
) -> None:
    there = home(Model.SILO)
    fill(pool, tenant, "copied")
    with moving(pool, there, tenant) as follower, pool.superuser() as connection:
        publish(connection, f"mv_{tenant.hex}", "public", NAMES, neighbour)
        fill(pool, neighbour, "theirs")
        with pytest.raises(ForeignRowError):
            caught_up(follower, pool)
    assert there.rows(neighbour) == NOTHING


@pytest.fixture
def guests(pool: Home, home: NewHome, tenant: UUID, neighbour: UUID) -> Iterator[tuple[Home, Home]]:
    """A silo to come from, and a pool in which a neighbour has rows; its rows are the same at the end."""
    here = home(Model.SILO)
    fill(pool, neighbour, "there before")
    before = pool.rows(neighbour)
    yield here, pool
    assert pool.rows(neighbour) == before
    assert all(before.values())


def test_neighbours_in_the_target_are_not_touched(guests: tuple[Home, Home], tenant: UUID) -> None:
    here, there = guests
    fill(here, tenant, "copied")
    with moving(here, there, tenant) as follower:
        here.do("UPDATE things SET name = 'changed'", "DELETE FROM parts", "UPDATE events SET id = gen_random_uuid()")
        fill(here, tenant, "streamed")
        caught_up(follower, here)
        assert same(here, there, tenant)


def test_only_the_tenants_rows_count_for_how_many_it_has(guests: tuple[Home, Home], tenant: UUID) -> None:
    here, there = guests
    fill(there, tenant, "its own")
    rows, tables = sum(map(len, there.rows(tenant).values())), tables_between(here, there)
    with source_of(there.place) as connection:
        told = [has_more_rows(connection, there.schema, tables, tenant, than) for than in (-1, rows - 1, rows)]
    assert told == [True, True, False]


def test_erasing_takes_the_tenants_rows_and_no_others(guests: tuple[Home, Home], tenant: UUID) -> None:
    _, there = guests
    fill(there, tenant, "to go")
    for _ in range(2):
        erase_tenant(there.place, tenant)
        assert there.rows(tenant) == NOTHING


def test_erasing_takes_no_row_that_lies_at_the_same_place_of_another_partition(
    pool: Home, tenant: UUID, neighbour: UUID
) -> None:
    for each, at in ((tenant, "2025-05-05"), (neighbour, "2026-06-06")):
        pool.do(
            "INSERT INTO events (tenant_id, id, at, what) VALUES (%(tenant)s, %(id)s, %(at)s, 'x')",
            tenant=each,
            id=new_id(),
            at=at,
        )
    erase_tenant(pool.place, tenant)
    assert pool.rows(tenant) == NOTHING
    assert len(pool.rows(neighbour)["events"]) == 1


def test_a_table_that_others_write_to_can_be_published_and_they_go_on(
    pool: Home, home: NewHome, tenant: UUID, neighbour: UUID
) -> None:
    there = home(Model.SILO)
    fill(pool, tenant, "copied")
    with moving(pool, there, tenant), pool.superuser() as connection:
        fill(pool, neighbour, "theirs")
        for table in ("events", "feelings", "parts", "things"):
            for statement in (f"UPDATE {table} SET id = id", f"DELETE FROM {table}"):
                assert connection.execute(f"{statement} WHERE tenant_id = %s".encode(), [neighbour]).rowcount > 0
    assert pool.rows(neighbour) == NOTHING
