"""A shape is the same wherever a revision was built, and another wherever something differs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import psycopg
import pytest
from psycopg import sql

from control_plane.domain.server import Server
from control_plane.doors import SOCKETS
from control_plane.registry.fleet import Revisions
from migrations.fleet.chains import HOME, tenant_chain
from migrations.fleet.shapes import Difference, Expected, Part, condition, differences, objects, sums, touched
from provisioning.databases import Builder
from provisioning.roles import MIGRATOR, connect
from tests.fleet.scratch import Scratch

pytestmark = pytest.mark.slow

TENANT = tenant_chain("migrations:tenant")
FIRST = Revisions(home=HOME.head, tenant=TENANT.revisions[0])
NEWEST = Revisions(home=HOME.head, tenant=TENANT.head)
ODD = 'we"ird. $1 \\ schema'
PLAIN = "t_00"
_numbers = itertools.count(1)

# One of nearly everything whose definition could name a schema.
EVERYTHING = """
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE TYPE pair AS (a mood, b int);
CREATE FUNCTION small(t text) RETURNS boolean IMMUTABLE LANGUAGE sql AS $$ SELECT length(t) < 10 $$;
CREATE FUNCTION settled() RETURNS text LANGUAGE sql SET search_path FROM CURRENT AS $$ SELECT 'a'::text $$;
CREATE FUNCTION atomic() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT 1::bigint; END;
CREATE DOMAIN short AS text CONSTRAINT short_check CHECK (small(VALUE));
CREATE SEQUENCE numbers;
CREATE TABLE parents (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, feeling mood NOT NULL DEFAULT 'good', name short COLLATE "C",
    number bigint DEFAULT nextval('numbers'), doubled int GENERATED ALWAYS AS (length(name) * 2) STORED
);
CREATE TABLE children (
    id int PRIMARY KEY, parent int REFERENCES parents, note text,
    CONSTRAINT note_small CHECK (small(note)), CONSTRAINT note_else CHECK (note <> 'public.parents'),
    EXCLUDE USING btree (note WITH =)
);
CREATE INDEX children_note_idx ON children (small(note), parent DESC) WHERE note IS NOT NULL;
CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER watched BEFORE UPDATE ON children FOR EACH ROW WHEN (small(NEW.note)) EXECUTE FUNCTION watch();
CREATE VIEW both_of_them WITH (security_invoker = true) AS
    SELECT c.note, p.feeling FROM children c JOIN parents p ON p.id = parent;
CREATE RULE ignored AS ON DELETE TO parents DO ALSO UPDATE children SET note = NULL WHERE parent = OLD.id;
CREATE STATISTICS both_stats ON id, note FROM children;
ALTER TABLE children ENABLE ROW LEVEL SECURITY;
CREATE POLICY of_parents ON children USING (parent IN (SELECT id FROM parents WHERE small(name)));
CREATE TABLE parted (id int, day date) PARTITION BY RANGE (day);
CREATE TABLE parted_2020 PARTITION OF parted FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT SELECT ON TABLES TO copyhold_backup;
GRANT SELECT (name), UPDATE ON parents TO copyhold_mover;
"""


@pytest.fixture(scope="module")
def server(cluster: Server) -> Server:
    """The server on which all of this is built."""
    return cluster


@pytest.fixture
def builder(server: Server) -> Builder:
    """What builds homes there."""
    return Builder(server=server, tenant_chain=TENANT, doors=SOCKETS)


def migrator(server: Server, database: str) -> psycopg.Connection[Any]:
    """A connection as checks use it."""
    return connect(SOCKETS.dsn(server, database, MIGRATOR))


def shape_of(scratch: Scratch, schema: str) -> dict[Part, str]:
    """What that schema consists of."""
    with connect(scratch.dsn) as connection:
        return objects(connection, [schema])[schema]


def furnished(scratch: Scratch, schema: str, *statements: str) -> None:
    """Run statements with that schema on the search_path; it is made first."""
    with scratch.superuser() as connection:
        name = sql.Identifier(schema)
        made = "REVOKE ALL ON SCHEMA public FROM PUBLIC; CREATE SCHEMA IF NOT EXISTS {0} AUTHORIZATION copyhold_owner"
        connection.execute(sql.SQL(made).format(name))
        connection.execute(sql.SQL("SET search_path = {0}; SET ROLE copyhold_owner").format(name))
        for statement in statements:
            connection.execute(statement.replace("{schema}", name.as_string(connection)).encode())


@pytest.mark.parametrize("revisions", [FIRST, NEWEST], ids=["first", "newest"])
def test_pool_bridge_and_silo_of_one_revision_have_the_same_sums(builder: Builder, revisions: Revisions) -> None:
    number = next(_numbers)
    pool, bridge, silo = f"pool_{number}", f"bridge_{number}", f"silo_{number:032x}"
    builder.build_shared(pool, revisions, with_tables=True)
    builder.build_shared(bridge, revisions, with_tables=False)
    builder.build_schema(bridge, PLAIN, revisions.tenant)
    builder.copy_silo(silo, revisions)
    found = []
    for database, schema in ((pool, "public"), (bridge, PLAIN), (silo, "public")):
        with migrator(builder.server, database) as connection:
            there = sums(connection, [schema, "tenancy"])
            found.append((there[schema], there["tenancy"]))
    assert found == [found[0]] * 3


def test_a_home_that_was_brought_along_is_like_one_that_was_built_there(builder: Builder) -> None:
    old, new = (f"pool_{next(_numbers)}" for _ in range(2))
    builder.build_shared(old, FIRST, with_tables=True)
    with migrator(builder.server, old) as connection:
        before = sums(connection, ["public"])
    builder.build_shared(old, NEWEST, with_tables=True)
    builder.build_shared(new, NEWEST, with_tables=True)
    with migrator(builder.server, old) as one, migrator(builder.server, new) as other:
        assert sums(one, ["public"]) == sums(other, ["public"]) != before


@pytest.mark.parametrize("schema", [PLAIN, ODD, "select", "Ünï", "catalog", "public_2"])
def test_what_a_schema_is_called_makes_no_difference(scratch: Scratch, schema: str) -> None:
    for each in ("public", schema):
        furnished(scratch, each, EVERYTHING)
    with connect(scratch.dsn) as connection:
        found = objects(connection, ["public", schema])
        assert found[schema] == found["public"]
        assert len(set(sums(connection, ["public", schema]).values())) == 1
    assert {part.kind for part in found[schema]} == {
        "schema", "table", "view", "sequence", "column", "constraint", "index", "policy", "trigger", "rule",
        "statistics", "function", "type", "grant", "default privileges",
    }  # fmt: skip
    assert [text for text in found[schema].values() if schema in text and schema != "select"] == []
    assert "'public.parents'" in found[schema][Part("constraint", "children", "note_else")]


def test_a_name_of_another_schema_stays_and_so_makes_a_difference(scratch: Scratch) -> None:
    furnished(scratch, "public", "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int REFERENCES a)")
    furnished(scratch, PLAIN, "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int REFERENCES public.a)")
    (found,) = differences(shape_of(scratch, "public"), shape_of(scratch, PLAIN))
    assert (found.part, found.how) == (Part("constraint", "b", "b_id_fkey"), "differs")
    assert found.found == "FOREIGN KEY (id) REFERENCES public.a(id)"


def test_the_databases_own_login_is_told_apart_from_other_roles(scratch: Scratch) -> None:
    login = scratch.ask("SELECT current_database()")[0]
    scratch.tell(f"CREATE ROLE {login}; CREATE ROLE {login}_else")
    furnished(scratch, PLAIN, "CREATE TABLE a (id int)")
    furnished(scratch, PLAIN, f"GRANT SELECT ON a TO {login}, {login}_else", f"CREATE POLICY p ON a TO {login}")
    shape = shape_of(scratch, PLAIN)
    assert {part.name for part in shape if part.kind == "grant" and part.table == "a"} == {
        "its owner", "app login", f"{login}_else",
    }  # fmt: skip
    assert shape[Part("policy", "a", "p")] == "FOR ALL TO app login"
    scratch.tell(f"DROP OWNED BY {login}, {login}_else; DROP ROLE {login}, {login}_else")


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO children (id, note) VALUES (1, 'a')",
        "ANALYZE children",
        "UPDATE alembic_version SET version_num = '9999'",
        "ALTER TABLE alembic_version ADD COLUMN more int",
        "CREATE TEMPORARY TABLE passing (id int)",
        "ALTER TABLE children ADD COLUMN passing int; ALTER TABLE children DROP COLUMN passing",
        "REINDEX TABLE children; CLUSTER children USING children_pkey; ALTER TABLE children SET WITHOUT CLUSTER",
        "SELECT nextval('numbers')",
        "COMMENT ON TABLE children IS 'of their parents'",
        "CREATE TABLE public.children (id int)",
    ],
)
def test_what_is_no_part_of_the_shape_does_not_change_it(scratch: Scratch, statement: str) -> None:
    furnished(scratch, PLAIN, EVERYTHING, "CREATE TABLE alembic_version (version_num text)")
    with connect(scratch.dsn) as connection:
        before = sums(connection, [PLAIN])
        furnished(scratch, PLAIN, *(f"{each.strip()}" for each in statement.split(";")))
        assert sums(connection, [PLAIN]) == before


def test_schemas_that_are_not_there_are_left_out(scratch: Scratch) -> None:
    with connect(scratch.dsn) as connection:
        assert sums(connection, ["public", "nowhere"]).keys() == objects(connection, ["nowhere", "public"]).keys()
        assert sums(connection, ["public", "nowhere"]).keys() == {"public"}
        assert sums(connection, []) == objects(connection, []) == {}


def test_looking_changes_nothing_for_whoever_uses_the_connection_next(scratch: Scratch) -> None:
    with connect(scratch.dsn) as connection:
        before = connection.execute("SHOW search_path").fetchone()
        sums(connection, ["public"])
        objects(connection, ["public"])
        assert connection.execute("SHOW search_path").fetchone() == before


def test_of_what_is_missing_as_a_whole_no_parts_are_told(scratch: Scratch) -> None:
    furnished(scratch, PLAIN, EVERYTHING)
    before = shape_of(scratch, PLAIN)
    furnished(scratch, PLAIN, "DROP VIEW both_of_them; DROP TABLE children CASCADE; CREATE TABLE more (id int)")
    furnished(scratch, PLAIN, "DROP FUNCTION settled")
    after = shape_of(scratch, PLAIN)
    assert [(str(each.part), each.how) for each in differences(before, after)] == [
        ("both_of_them", "missing"), ("children", "missing"), ("more", "unexpected"), ("parents.ignored", "missing"),
        ("settled()", "missing"),
    ]  # fmt: skip
    assert differences(after, after) == []


@pytest.mark.parametrize(
    ("expected", "found", "how"),
    [
        (None, "CREATE INDEX i ON a USING btree (b) INVALID", "invalid"),
        ("CREATE INDEX i ON a USING btree (b)", "CREATE INDEX i ON a USING btree (b) INVALID", "invalid"),
        ("CREATE INDEX i ON a USING btree (b)", "CREATE INDEX i ON a USING btree (c)", "differs"),
        ("CREATE INDEX i ON a USING btree (b)", None, "missing"),
        (None, "CREATE INDEX i ON a USING btree (b)", "unexpected"),
    ],
)
def test_a_difference_is_told_in_a_word(expected: str | None, found: str | None, how: str) -> None:
    assert Difference(part=Part("index", "a", "i"), expected=expected, found=found).how == how


def test_what_is_changed_has_to_be_there_and_what_is_untouched_is_not_named(scratch: Scratch) -> None:
    furnished(scratch, PLAIN, EVERYTHING)
    before = shape_of(scratch, PLAIN)
    furnished(scratch, PLAIN, "ALTER TABLE children ALTER COLUMN id TYPE bigint; DROP INDEX children_note_idx")
    assert touched(before, shape_of(scratch, PLAIN)) == (
        Expected(kind="column", table="children", name="id", present=True),
        Expected(kind="index", table="children", name="children_note_idx", present=False),
    )


def holds(scratch: Scratch, schema: str, expected: Sequence[Expected]) -> bool:
    """Whether the condition of it holds in that schema."""
    text = condition(expected)
    assert text is not None
    with connect(scratch.dsn) as connection:
        connection.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(schema)))
        row = connection.execute(f"SELECT {text}".encode()).fetchone()
    return row == (True,)


def test_what_was_touched_can_be_looked_for_in_a_target(scratch: Scratch) -> None:
    furnished(scratch, ODD, EVERYTHING)
    all_of_it = touched({}, shape_of(scratch, ODD))
    gone = touched(shape_of(scratch, ODD), {})
    assert holds(scratch, ODD, all_of_it)
    assert not holds(scratch, "public", all_of_it)
    assert holds(scratch, "public", gone)
    for each in all_of_it:
        assert not holds(scratch, "public", [each])
        assert holds(scratch, ODD, [each])
    assert [each for each in gone if holds(scratch, ODD, [each])] == []
    assert condition([]) is None


def test_an_invalid_index_is_not_what_was_looked_for(scratch: Scratch) -> None:
    furnished(scratch, PLAIN, "CREATE TABLE a (id int); CREATE INDEX i ON a (id)")
    wanted = [Expected(kind="index", table="a", name="i", present=True)]
    assert holds(scratch, PLAIN, wanted)
    scratch.tell("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 't_00.i'::regclass")
    assert not holds(scratch, PLAIN, wanted)
