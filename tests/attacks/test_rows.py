"""Whatever is asked of the tables, and in whatever way, the answer never depends on another tenant's rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql

from control_plane.domain.ids import new_id
from tests.attacks.burglar import (
    DENIED,
    Connection,
    Door,
    Pair,
    ask,
    home_of,
    login_at,
    refusal,
    refusal_in_visit,
    subjects,
    token_for,
    visit,
)
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest

TABLES = ("users", "sessions", "conversations", "messages")
NOT_SUPPORTED, INVALID_TEXT, DIVISION, UNIQUE, FOREIGN_KEY = "0A000", "22P02", "22012", "23505", "23503"


def foreign(platform: PlatformUnderTest, tenant: TenantUnderTest, query: str) -> UUID:
    """An id of a row of that tenant, as a superuser sees it."""
    with platform.home_of(tenant) as superuser:
        ((found,),) = ask(superuser, query, tenant.id)
    assert isinstance(found, UUID)
    return found


@pytest.fixture
def prey_message(platform: PlatformUnderTest, pool: Pair) -> UUID:
    return foreign(platform, pool.prey, "SELECT id FROM messages WHERE tenant_id = %s LIMIT 1")


def as_all_seeing(platform: PlatformUnderTest, tenant: TenantUnderTest) -> Connection:
    """Who bypasses row-level security: the control of what an attack would show without it."""
    return platform.home_of(tenant)


def test_every_table_shows_the_tenants_own_rows_alone(
    platform: PlatformUnderTest, inside: Connection, pool: Pair
) -> None:
    with visit(inside, pool.thief), as_all_seeing(platform, pool.thief) as superuser:
        for table in TABLES:
            seen = ask(inside, f"SELECT DISTINCT tenant_id FROM {table}")
            assert seen in ([(pool.thief.id,)], []), table
            if table != "sessions":
                assert (pool.prey.id,) in ask(superuser, f"SELECT DISTINCT tenant_id FROM {table}")


@pytest.fixture
def in_the_bridge(platform: PlatformUnderTest, bridge: Pair, door: Door) -> Iterator[Connection]:
    with login_at(platform, home_of(bridge.thief), door) as connection:
        yield connection


def test_a_bridge_tenant_sees_nothing_in_its_neighbours_schema(
    platform: PlatformUnderTest, in_the_bridge: Connection, bridge: Pair
) -> None:
    schema = home_of(bridge.prey).schema
    with visit(in_the_bridge, bridge.thief), as_all_seeing(platform, bridge.prey) as superuser:
        for table in TABLES:
            assert ask(in_the_bridge, f"SELECT * FROM {schema}.{table}") == []
        assert (bridge.secret,) in ask(superuser, "SELECT subject FROM conversations")


def test_what_a_bridge_tenant_leaves_in_its_neighbours_schema_is_seen_by_nobody_there(
    in_the_bridge: Connection, bridge: Pair
) -> None:
    """It can write rows of its own there, which is no harm to the neighbour but for the room that they take."""
    burglar = in_the_bridge
    schema, mine = home_of(bridge.prey).schema, new_id()
    row = f"INSERT INTO {schema}.users (tenant_id, id, name, role, kind) VALUES (%s, %s, 'M', 'owner', 'service')"
    with visit(burglar, bridge.thief):
        assert refusal_of(burglar, row, bridge.prey.id, mine) == DENIED
        ask(burglar, row, bridge.thief.id, mine)
        burglar.execute("COMMIT")
    try:
        with visit(burglar, bridge.prey):
            assert ask(burglar, "SELECT id FROM users WHERE id = %s", mine) == []
    finally:
        with visit(burglar, bridge.thief):
            ask(burglar, f"DELETE FROM {schema}.users WHERE id = %s", mine)
            burglar.execute("COMMIT")


def refusal_of(connection: Connection, statement: str, *values: object) -> str:
    """The refusal inside a transaction that goes on."""
    connection.execute("SAVEPOINT before")
    state = refusal(connection, statement, *values)
    connection.execute("ROLLBACK TO before")
    return state


@pytest.mark.parametrize(
    "query",
    [
        "SELECT subject FROM conversations WHERE tenant_id = %(prey)s",
        "SELECT subject FROM conversations WHERE tenant_id = %(prey)s OR true",
        "SELECT c.subject FROM messages m RIGHT JOIN conversations c ON m.tenant_id <> c.tenant_id",
        "SELECT subject FROM conversations TABLESAMPLE SYSTEM (100)",
        "SELECT subject FROM conversations WHERE ctid >= '(0,0)'",
        "TABLE conversations",
        "WITH c AS MATERIALIZED (SELECT * FROM conversations) SELECT subject FROM c",
        "SELECT query_to_xml('SELECT subject FROM conversations', true, true, '')::text",
        "SELECT table_to_xml('conversations', true, true, '')::text",
        "SELECT schema_to_xml('public', true, true, '')::text",
        "SELECT string_agg(conversations::text, ',') FROM conversations",
        "SELECT row_to_json(c)::text FROM conversations c",
        "SELECT subject FROM conversations FOR UPDATE",
        "UPDATE conversations SET subject = subject RETURNING subject",
        "DELETE FROM messages RETURNING body",
        "SELECT subject FROM conversations UNION ALL SELECT body FROM messages",
    ],
)
def test_no_form_of_reading_shows_a_foreign_row(
    platform: PlatformUnderTest, inside: Connection, pool: Pair, query: str
) -> None:
    with visit(inside, pool.thief):
        found = inside.execute(query.encode(), {"prey": pool.prey.id}).fetchall()
    assert pool.prey.slug not in str(found)
    if "FOR UPDATE" not in query and "UPDATE" not in query and "DELETE" not in query:
        with as_all_seeing(platform, pool.prey) as superuser:
            assert pool.prey.slug in str(superuser.execute(query.encode(), {"prey": pool.prey.id}).fetchall())


def test_copying_out_copies_own_rows_alone(platform: PlatformUnderTest, inside: Connection, pool: Pair) -> None:
    def copied(connection: Connection) -> str:
        with connection.cursor() as cursor, cursor.copy("COPY conversations TO STDOUT") as copy:
            return b"".join(bytes(block) for block in copy).decode()

    with visit(inside, pool.thief), as_all_seeing(platform, pool.prey) as superuser:
        mine = copied(inside)
        assert pool.thief.slug in mine
        assert pool.prey.slug not in mine
        assert pool.prey.slug in copied(superuser)


def test_copying_in_is_not_supported(inside: Connection, pool: Pair) -> None:
    with (
        visit(inside, pool.thief),
        pytest.raises(psycopg.errors.FeatureNotSupported),
        inside.cursor() as cursor,
        cursor.copy("COPY messages FROM STDIN") as copy,
    ):
        copy.write_row([pool.prey.id])


@pytest.mark.parametrize("target", ["TO PROGRAM 'cat'", "FROM PROGRAM 'echo'", "TO '/tmp/out'", "FROM '/etc/passwd'"])
def test_files_and_programs_of_the_server_are_out_of_reach(pooled: Connection, pool: Pair, target: str) -> None:
    assert refusal_in_visit(pooled, pool.thief, f"COPY messages {target}") == DENIED


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO conversations (tenant_id, id, subject, created_by)"
        " SELECT %(prey)s, gen_random_uuid(), 'planted', id FROM users LIMIT 1",
        "UPDATE conversations SET tenant_id = %(prey)s",
        "INSERT INTO users SELECT %(prey)s, gen_random_uuid(), email, name, 'owner', kind FROM users"
        " ON CONFLICT DO NOTHING",
        "MERGE INTO users u USING (SELECT %(prey)s::uuid AS t) s ON false"
        " WHEN NOT MATCHED THEN INSERT (tenant_id, id, name, role, kind)"
        " VALUES (s.t, gen_random_uuid(), 'M', 'owner', 'service')",
    ],
)
def test_nothing_can_be_written_for_another_tenant(inside: Connection, pool: Pair, statement: str) -> None:
    with visit(inside, pool.thief), pytest.raises(psycopg.errors.InsufficientPrivilege):
        inside.execute(statement.encode(), {"prey": pool.prey.id})


def test_foreign_rows_cannot_be_changed_or_deleted(inside: Connection, pool: Pair, prey_message: UUID) -> None:
    with visit(inside, pool.thief):
        for statement in (
            "UPDATE messages SET body = 'defaced' WHERE id = %s",
            "DELETE FROM messages WHERE id = %s",
            "SELECT FROM messages WHERE id = %s FOR UPDATE",
        ):
            assert inside.execute(statement.encode(), [prey_message]).rowcount == 0


def test_an_id_that_another_tenant_has_is_as_free_as_any(inside: Connection, pool: Pair, prey_message: UUID) -> None:
    """Unique keys tell nothing: the insert succeeds for a foreign id, and fails for a foreign tenant either way."""
    insert = (
        "INSERT INTO messages (tenant_id, id, conversation_id, author_id, body)"
        " SELECT %s, %s, conversation_id, author_id, 'x' FROM messages LIMIT 1"
    )
    with visit(inside, pool.thief):
        for message_id in (prey_message, uuid4()):
            assert inside.execute(insert.encode(), [pool.thief.id, message_id]).rowcount == 1
            assert refusal_of(inside, insert, pool.prey.id, message_id) == DENIED
        assert refusal_of(inside, insert, pool.thief.id, prey_message) == UNIQUE  # control: now it is taken


def test_an_e_mail_address_that_another_tenant_has_is_as_free_as_any(inside: Connection, pool: Pair) -> None:
    insert = (
        "INSERT INTO users (tenant_id, id, email, name, role, kind)"
        " VALUES (%s, gen_random_uuid(), %s, 'x', 'member', 'person')"
    )
    with visit(inside, pool.thief):
        for address in (f"owner@{pool.prey.slug}.example", "nobody@nowhere.example"):
            assert inside.execute(insert.encode(), [pool.thief.id, address]).rowcount == 1
            assert refusal_of(inside, insert, pool.prey.id, address) == DENIED


def test_a_reference_to_a_foreign_row_fails_like_one_to_nothing(
    platform: PlatformUnderTest, inside: Connection, pool: Pair
) -> None:
    conversation = foreign(platform, pool.prey, "SELECT id FROM conversations WHERE tenant_id = %s LIMIT 1")
    insert = (
        "INSERT INTO messages (tenant_id, id, conversation_id, author_id, body)"
        " SELECT tenant_id, gen_random_uuid(), %s, id, 'x' FROM users LIMIT 1"
    )
    with visit(inside, pool.thief):
        for target in (conversation, uuid4()):
            assert refusal_of(inside, insert, target) == FOREIGN_KEY


@pytest.mark.parametrize(
    ("condition", "state"),
    [
        ("subject::int = 0", INVALID_TEXT),
        ("1 / (length(subject) - length({secret})) = 0", DIVISION),
        ("CASE WHEN subject = {secret} THEN 1 / (length(subject) - length({secret})) = 0 ELSE false END", DIVISION),
    ],
)
def test_an_error_in_a_condition_never_comes_from_a_foreign_row(
    platform: PlatformUnderTest, inside: Connection, pool: Pair, condition: str, state: str
) -> None:
    own = f"SELECT 1 FROM conversations WHERE tenant_id <> '{pool.thief.id}' AND subject <> 'Welcome' AND {condition}"
    query = sql.SQL("{}").format(sql.SQL(own.format(secret=sql.Literal(pool.secret).as_string())))
    with visit(inside, pool.thief):
        assert inside.execute(query).fetchall() == []
    with as_all_seeing(platform, pool.prey) as superuser, pytest.raises(psycopg.Error) as leak:
        superuser.execute(query)
    assert leak.value.sqlstate == state


NO_INDEX = (
    "SET LOCAL enable_indexscan = off; SET LOCAL enable_bitmapscan = off; SET max_parallel_workers_per_gather = 0"
)
# Of eight elements, so that it is held for dearer than any guess and tried after it.
ALARM = "subject > ANY (ARRAY[(SELECT (1 / (random() * 0)::int)::text), '', '', '', '', '', '', ''])"
Shape = Callable[[str], str]
SHAPES: dict[str, Shape] = {
    "plain": lambda guess: f"SELECT 1 FROM conversations WHERE {guess} AND {ALARM}",
    "union": lambda guess: (
        "SELECT 1 FROM (SELECT subject FROM conversations UNION ALL SELECT subject FROM conversations) s"
        f" WHERE {guess} AND {ALARM}"
    ),
    "lateral": lambda guess: (
        f"SELECT 1 FROM (VALUES (1)) v (n), LATERAL (SELECT subject FROM conversations WHERE {guess} AND {ALARM}) s"
    ),
}


def outcome(connection: Connection, query: str) -> object:
    """What is heard of a query: its rows, or the error, inside a transaction that goes on."""
    connection.execute("SAVEPOINT before")
    try:
        return ask(connection, query)
    except psycopg.Error as error:
        return error.sqlstate
    finally:
        connection.execute("ROLLBACK TO before")


def guesses(condition: str, value: str) -> str:
    """The condition about that value, cut in half or followed by more where it asks for that."""
    texts = {"all": value, "half": value[: len(value) // 2], "more": value + "~"}
    return condition.format(**{name: sql.Literal(text).as_string() for name, text in texts.items()})


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("costs", ["0.0025", "0", "1e10", "0x1p-1074"])
@pytest.mark.parametrize(
    "condition",
    [
        "subject = ANY (ARRAY[{all}])",
        "subject >= ANY (ARRAY[{half}]) AND subject < ANY (ARRAY[{more}])",
        "starts_with(subject, {half})",
        "subject = {all}",
        "md5(subject) = ANY (ARRAY[md5({all})])",
    ],
    ids=["equal-any", "between", "prefix", "equal", "hashed"],
)
def test_a_guess_is_never_tried_on_a_foreign_row(
    platform: PlatformUnderTest, pooled: Connection, pool: Pair, condition: str, costs: str, shape: str
) -> None:
    """Leakproof conditions may be tried before the policy when they are cheap, and whether they held can be heard.

    The alarm is an error in a subquery that is run only once the guess has held for a row.
    """
    right, wrong = (SHAPES[shape](guesses(condition, value)) for value in (pool.secret, "nothing that was ever said"))
    with visit(pooled, pool.thief):
        pooled.execute(NO_INDEX)
        pooled.execute(f"SET LOCAL cpu_operator_cost = '{costs}'".encode())
        assert outcome(pooled, right) == outcome(pooled, wrong)
    with as_all_seeing(platform, pool.prey) as superuser, superuser.transaction(force_rollback=True):
        assert (outcome(superuser, right), outcome(superuser, wrong)) == (DIVISION, [])


def test_that_alarm_would_be_heard_if_leakproof_functions_were_cheap(platform: PlatformUnderTest, pool: Pair) -> None:
    """The control of the test above: PostgreSQL as it comes lets the guess be tried on foreign rows."""
    secret = sql.Literal(pool.secret).as_string()
    with platform.home_of(pool.thief) as superuser, superuser.transaction(force_rollback=True):
        superuser.execute("ALTER FUNCTION pg_catalog.texteq(text, text) COST 1")
        superuser.execute("ALTER FUNCTION pg_catalog.text_gt(text, text) COST 1")
        superuser.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(home_of(pool.thief).login)))
        ask(superuser, "SELECT tenancy.enter(%s)", token_for(pool.thief))
        superuser.execute(NO_INDEX)
        right, wrong = (SHAPES["plain"](f"subject = ANY (ARRAY[{guess}])") for guess in (secret, "'no such thing'"))
        assert ask(superuser, wrong) == []
        assert refusal(superuser, right) == DIVISION


def test_explain_estimates_tell_a_right_guess_from_a_wrong_one_no_more(
    platform: PlatformUnderTest, inside: Connection, pool: Pair
) -> None:
    for _ in range(30):
        made = pool.prey.http.post("/api/conversations", json={"subject": pool.secret})
        assert made.status_code == 201
    with as_all_seeing(platform, pool.prey) as superuser:
        superuser.execute("ANALYZE conversations")

    def estimates(column: str, value: str) -> str:
        ((plan,),) = ask(inside, f"EXPLAIN (FORMAT JSON) SELECT 1 FROM conversations WHERE {column} {value}")
        return json.dumps(plan).replace(value.partition(" ")[2], "…")

    literal = sql.Literal(pool.secret).as_string()
    with visit(inside, pool.thief):
        assert estimates("subject", f"= {literal}") == estimates("subject", "= 'nobody has ever said this'")
        assert estimates("subject", f"< {literal}") == estimates("subject", "< 'a'")


def test_no_column_with_content_keeps_statistics(platform: PlatformUnderTest, pair: Pair) -> None:
    """A revision that adds one calls tenancy.conceal."""
    with as_all_seeing(platform, pair.thief) as superuser:
        kept = ask(
            superuser,
            """
            SELECT c.relname, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
              JOIN pg_policy p ON p.polrelid = c.oid
             WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attstattarget IS DISTINCT FROM 0
               AND a.atttypid <> ALL ('{uuid,timestamptz,timestamp,date,bool}'::regtype[])
            """,
        )
    assert kept == []


def test_what_is_open_about_the_pool_as_a_whole_is_its_size(inside: Connection, pool: Pair) -> None:
    """Not a promise but a limit: an injection can read how large the shared tables are, never what stands in them."""
    with visit(inside, pool.thief):
        assert ask(inside, "SELECT pg_relation_size('messages') > 0") == [(True,)]
        shown = ask(inside, "EXPLAIN (ANALYZE, VERBOSE, BUFFERS) SELECT * FROM conversations WHERE subject > 'm'")
    assert pool.prey.slug not in str(shown)


@pytest.mark.parametrize(
    "statement",
    [
        "TRUNCATE messages",
        "ALTER TABLE messages DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE messages NO FORCE ROW LEVEL SECURITY",
        "DROP POLICY tenant_only ON messages",
        "CREATE POLICY all_of_it ON messages USING (true)",
        "ALTER POLICY tenant_only ON messages USING (true)",
        "CREATE TRIGGER spy BEFORE INSERT ON messages EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "CREATE RULE spy AS ON INSERT TO messages DO ALSO NOTHING",
        "ALTER TABLE messages OWNER TO CURRENT_USER",
        "COMMENT ON TABLE messages IS 'x'",
        "REINDEX TABLE messages",
        "CREATE INDEX ON messages (body)",
        "CREATE STATISTICS spy ON id, body FROM messages",
        "SET LOCAL row_security = off; SELECT * FROM messages",
        "SET LOCAL session_replication_role = replica",
    ],
)
def test_tables_and_their_protection_cannot_be_changed(pooled: Connection, pool: Pair, statement: str) -> None:
    assert refusal_in_visit(pooled, pool.thief, statement) == DENIED


def test_granting_what_one_has_to_everybody_grants_nothing(
    platform: PlatformUnderTest, inside: Connection, pool: Pair
) -> None:
    acl = "SELECT relacl::text FROM pg_class WHERE oid = 'messages'::regclass"
    with as_all_seeing(platform, pool.thief) as superuser:
        before = ask(superuser, acl)
        ask(inside, "GRANT ALL ON public.messages TO PUBLIC")
        ask(inside, f"DROP OWNED BY {home_of(pool.thief).login}")
        assert ask(superuser, acl) == before


def test_row_level_security_is_what_keeps_them_apart(
    platform: PlatformUnderTest, inside: Connection, pool: Pair
) -> None:
    """The control of this file: with the policy off, the same query by the same login shows all."""
    login = sql.Identifier(home_of(pool.thief).login)
    with platform.home_of(pool.thief) as superuser, superuser.transaction(force_rollback=True):
        superuser.execute("ALTER TABLE conversations DISABLE ROW LEVEL SECURITY")
        superuser.execute(sql.SQL("SET LOCAL ROLE {}").format(login))
        assert {pool.secret, f"only {pool.thief.slug} knows"} <= subjects(superuser)


def test_whether_a_column_is_null_anywhere_in_a_shared_table_can_be_heard(
    platform: PlatformUnderTest, pool: Pair
) -> None:
    """Not a promise but a limit: a test for NULL costs nothing, and so may come before the policy. It tells no more."""
    somebody = "SELECT 1 FROM users WHERE disabled_at IS NOT NULL"
    as_login = sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(home_of(pool.thief).login))
    with platform.home_of(pool.thief) as superuser, superuser.transaction(force_rollback=True):
        superuser.execute(NO_INDEX)
        superuser.execute("UPDATE users SET disabled_at = NULL")
        superuser.execute(as_login)
        assert outcome(superuser, somebody) == []
        superuser.execute("RESET ROLE")
        superuser.execute("UPDATE users SET disabled_at = now() WHERE tenant_id = %s", [pool.prey.id])
        superuser.execute(as_login)
        assert outcome(superuser, somebody) == "CH008"
