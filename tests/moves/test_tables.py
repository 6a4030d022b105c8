"""No table of a tenant's is left behind: whatever cannot be moved is named before anything is."""

from __future__ import annotations

from uuid import UUID

import pytest

from control_plane.domain.server import Server
from control_plane.domain.tenant import Model
from migrations.fleet.chains import tenant_chain
from provisioning.moves.errors import ShapesDifferError, UnmovableError
from provisioning.moves.places import source_of
from provisioning.moves.tables import Table, tables_of
from provisioning.moves.ways import moved_tables
from tenant_app import inbox
from tests.moves.conftest import NewHome
from tests.moves.homes import NAMES, Home, metadata, new_home
from tests.moves.moving import caught_up, moving

DEFECTS = {
    "a table of the tenant's that the app does not know": (
        "CREATE TABLE notes (tenant_id uuid NOT NULL, id uuid NOT NULL, PRIMARY KEY (tenant_id, id))",
        "notes: the app does not know it",
    ),
    "a table of everybody's": (
        "CREATE TABLE notes (id uuid PRIMARY KEY)",
        "notes: tenant_id is not part of its primary key; notes: the app does not know it",
    ),
    "a key without the tenant": (
        "ALTER TABLE feelings DROP CONSTRAINT feelings_pkey; ALTER TABLE feelings ADD PRIMARY KEY (id)",
        "feelings: tenant_id is not part of its primary key",
    ),
    "no key": (
        "ALTER TABLE feelings DROP CONSTRAINT feelings_pkey",
        "feelings: tenant_id is not part of its primary key",
    ),
    "a key that carries the tenant without being unique by it": (
        "ALTER TABLE feelings DROP CONSTRAINT feelings_pkey;"
        " ALTER TABLE feelings ADD PRIMARY KEY (id) INCLUDE (tenant_id)",
        "feelings: tenant_id is not part of its primary key",
    ),
    "changes that are not told": (
        "ALTER TABLE things REPLICA IDENTITY NOTHING",
        "things: its replica identity is neither its primary key nor the whole row",
    ),
    "a table that is not logged": ("ALTER TABLE feelings SET UNLOGGED", "feelings: it is not logged"),
    "a table that inherits": (
        "CREATE TABLE old_feelings () INHERITS (feelings); ALTER TABLE old_feelings ADD PRIMARY KEY (tenant_id, id)",
        "feelings: other tables inherit from it, or it does; old_feelings: other tables inherit from it, or it does;"
        " old_feelings: the app does not know it",
    ),
    "a trigger that fires for what is moved": (
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
        "CREATE TRIGGER loud BEFORE INSERT ON things FOR EACH ROW EXECUTE FUNCTION f();"
        "ALTER TABLE things ENABLE ALWAYS TRIGGER loud",
        "things: its triggers loud would fire for what is moved",
    ),
    "numbers from a sequence of nobody's": (
        "CREATE SEQUENCE numbers; ALTER TABLE feelings ADD COLUMN number int DEFAULT nextval('numbers')",
        "feelings: number takes its numbers from a sequence that does not belong to it",
    ),
}
DIFFERENCES = {
    "a column that is missing": ("ALTER TABLE parts DROP COLUMN note", "parts"),
    "a column of another type": ("ALTER TABLE parts ALTER COLUMN note TYPE varchar(20)", "parts"),
    "another column": ("ALTER TABLE events ADD COLUMN more text", "events"),
    "a column that is not computed any more": ("ALTER TABLE things ALTER COLUMN shout DROP EXPRESSION", "things"),
    "another key": (
        "ALTER TABLE feelings DROP CONSTRAINT feelings_pkey; ALTER TABLE feelings ADD PRIMARY KEY (id, tenant_id)",
        "feelings",
    ),
}


def tables(home: Home, *names: str) -> tuple[Table, ...]:
    """What is moved of an app with tables of these names."""
    with source_of(home.place) as connection:
        return tables_of(connection, home.schema, metadata(*names))


@pytest.fixture
def here(home: NewHome) -> Home:
    """A bridge."""
    return home(Model.BRIDGE)


def test_parents_come_before_what_refers_to_them_and_columns_are_known(here: Home) -> None:
    found = tables(here)
    assert sorted(table.name for table in found) == sorted(NAMES)
    order = [table.name for table in found]
    assert order.index("things") < order.index("parts")
    (things,) = (table for table in found if table.name == "things")
    assert "shout" not in things.stored
    assert things.key == ("tenant_id", "id")
    assert {table.name for table in found if table.binary} == {"things", "parts", "events"}
    assert {column.name for column in things.columns if column.always} == {"number"}


@pytest.mark.parametrize(("harm", "told"), DEFECTS.values(), ids=DEFECTS)
def test_what_cannot_be_moved_is_named(here: Home, harm: str, told: str) -> None:
    here.do(*harm.split(";") if "BEGIN" not in harm else [harm])
    with pytest.raises(UnmovableError) as refused:
        tables(here)
    assert str(refused.value) == f"The home has tables that cannot be moved: {told}"


def test_a_table_that_the_app_has_but_not_yet_the_home_is_no_hindrance(here: Home) -> None:
    assert {table.name for table in tables(here, *NAMES, "later")} == set(NAMES)


@pytest.mark.parametrize(("harm", "told"), DIFFERENCES.values(), ids=DIFFERENCES)
def test_homes_that_are_not_of_one_shape_are_refused(home: NewHome, here: Home, harm: str, told: str) -> None:
    there = home(Model.SILO)
    assert moved_tables(here.place, there.place, metadata())
    there.do(*harm.split(";"))
    with pytest.raises(ShapesDifferError, match=f": {told}$"):
        moved_tables(here.place, there.place, metadata())


def test_a_circle_of_tables_is_moved_all_the_same(home: NewHome, tenant: UUID) -> None:
    here, there = home(Model.BRIDGE), home(Model.SILO)
    for each in (here, there):
        each.do(
            "ALTER TABLE things ADD COLUMN part_id uuid",
            "ALTER TABLE things ADD FOREIGN KEY (part_id, tenant_id) REFERENCES parts (id, tenant_id)",
        )
    tell = "INSERT INTO {} (tenant_id, id) VALUES (%(t)s, %(t)s)"
    here.do(tell.format("things"), tell.format("parts"), "UPDATE things SET part_id = id", t=tenant)
    with moving(here, there, tenant) as follower:
        here.do("UPDATE parts SET thing_id = id")
        caught_up(follower, here)
        assert there.ask("SELECT part_id, thing_id FROM things, parts") == [(tenant, tenant)]


@pytest.mark.parametrize("model", Model, ids=str)
def test_every_table_of_the_inbox_is_moved(one: Server, tenant: UUID, model: Model) -> None:
    here = new_home(one, model, tenant, tenant_chain(inbox.migrations))
    with source_of(here.place) as connection:
        found = tables_of(connection, here.schema, inbox.metadata)
    assert {table.name for table in found} == set(inbox.metadata.tables)
    for table in found:
        assert set(table.stored) == {column.name for column in inbox.metadata.tables[table.name].columns}
