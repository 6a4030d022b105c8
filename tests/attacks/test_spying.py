"""What a session shows of others: not their statements, in which tokens stand, and no values of their rows."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.attacks.burglar import (
    DENIED,
    Connection,
    Door,
    Pair,
    ask,
    enter,
    home_of,
    login_at,
    refusal_in_visit,
    token_for,
    visit,
)
from tests.platform_under_test import PlatformUnderTest


@pytest.fixture
def live_token(platform: PlatformUnderTest, pool: Pair) -> Iterator[str]:
    """The token of a visit that is going on: of the same login, past the pooler, its text the session's last query."""
    token = token_for(pool.prey)
    with login_at(platform, home_of(pool.prey), Door.SERVER) as connection:
        enter(connection, pool.prey, token)
        yield token
        connection.execute("ROLLBACK")


def signature(token: str) -> str:
    return token.rpartition("|")[2]


def test_the_theft_is_real_a_superuser_reads_the_live_token(
    platform: PlatformUnderTest, pool: Pair, live_token: str
) -> None:
    """The control of this file."""
    with platform.home_of(pool.prey) as superuser:
        seen = ask(superuser, "SELECT query FROM pg_stat_activity WHERE query LIKE %s", f"%{signature(live_token)}%")
    assert any(live_token in query and "tenancy.enter" in query for (query,) in seen)


@pytest.mark.parametrize(
    "source",
    [
        "pg_stat_activity",
        "pg_stat_get_activity(NULL)",
        "pg_stat_replication",
        "pg_stat_ssl",
        "pg_stat_gssapi",
        "pg_locks",
        "pg_lock_status()",
        "pg_stat_get_backend_activity(1)",
        "pg_authid",
        "pg_shadow",
        "pg_statistic",
        "pg_hba_file_rules",
        "pg_file_settings",
        "pg_subscription",
        "pg_user_mapping",
    ],
)
def test_what_shows_other_sessions_is_taken_away(pooled: Connection, pool: Pair, source: str) -> None:
    assert refusal_in_visit(pooled, pool.thief, f"SELECT * FROM {source}") == DENIED


def readable(connection: Connection) -> list[str]:
    """Every relation of PostgreSQL's own that this login may read."""
    query = """
        SELECT c.oid::regclass::text FROM pg_class c
         WHERE c.relnamespace IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
           AND c.relkind IN ('r', 'v') AND has_table_privilege(c.oid, 'SELECT')
    """
    return [name for (name,) in ask(connection, query)]


def relations_that_show(connection: Connection, needle: str, *, names: list[str]) -> tuple[set[str], int]:
    """The relations in which the text stands anywhere, and how many could be read to their end."""
    found, read = set(), 0
    for name in names:
        connection.execute("SAVEPOINT looking")
        try:
            ((hits,),) = ask(connection, f"SELECT count(*) FROM {name} r WHERE strpos(r::text, %s) > 0", needle)
        except psycopg.errors.InsufficientPrivilege:
            connection.execute("ROLLBACK TO looking")
            continue
        read += 1
        if hits:
            found.add(name)
    return found, read


def test_no_relation_of_the_catalogue_shows_a_live_token(
    platform: PlatformUnderTest, pooled: Connection, pool: Pair, live_token: str
) -> None:
    # Split, so that the searching statement itself is not what is found.
    half = len(signature(live_token)) // 2
    needle = signature(live_token)[:half]
    with visit(pooled, pool.thief):
        found, read = relations_that_show(pooled, needle, names=readable(pooled))
    assert found == set()
    assert read > 150
    with platform.home_of(pool.prey) as superuser, superuser.transaction():
        found, _ = relations_that_show(superuser, needle, names=["pg_stat_activity", "pg_class"])
    assert found == {"pg_stat_activity"}


def test_no_statistics_function_shows_a_live_token(inside: Connection, pool: Pair, live_token: str) -> None:
    with visit(inside, pool.thief):
        backends = [backend for (backend,) in ask(inside, "SELECT pg_stat_get_backend_idset()")]
        functions = ask(
            inside,
            "SELECT oid::regproc::text FROM pg_proc WHERE proname LIKE 'pg_stat_get%%' AND pronargs = 1"
            " AND proargtypes = '23'::oidvector AND has_function_privilege(oid, 'EXECUTE') AND %s",
            True,
        )
        assert len(functions) >= 10
        for (name,) in functions:
            for backend in backends:
                shown = ask(inside, f"SELECT x::text FROM {name}({backend}) x")
                assert signature(live_token) not in str(shown)


def test_a_bound_token_is_not_shown_even_to_a_superuser(platform: PlatformUnderTest, pool: Pair) -> None:
    """The way that is left on servers where the views cannot be taken away."""
    token = token_for(pool.prey)
    with login_at(platform, home_of(pool.prey), Door.SERVER) as connection, platform.home_of(pool.prey) as superuser:
        connection.execute("BEGIN")
        ask(connection, "SELECT tenancy.enter(%s)", token)
        process = connection.info.backend_pid
        ((query,),) = ask(superuser, "SELECT query FROM pg_stat_activity WHERE pid = %s", process)
        connection.execute("ROLLBACK")
    assert query == "SELECT tenancy.enter($1)"


def test_a_visit_cannot_read_its_own_token_either(inside: Connection, pool: Pair) -> None:
    token = token_for(pool.thief)
    enter(inside, pool.thief, token)
    shown = [
        ask(inside, "SELECT current_query()"),
        ask(inside, "SELECT * FROM pg_prepared_statements"),
        ask(inside, "SELECT statement FROM pg_cursors"),
        ask(inside, "SELECT setting FROM pg_settings"),
        ask(inside, "SELECT current_setting('tenancy.context')"),
    ]
    inside.execute("ROLLBACK")
    assert signature(token) not in str(shown)


def test_the_sampled_values_of_shared_tables_are_not_shown(
    platform: PlatformUnderTest, inside: Connection, pool: Pair
) -> None:
    with platform.home_of(pool.prey) as superuser:
        superuser.execute("ANALYZE users, conversations, messages")
        stats = "SELECT tablename, attname FROM pg_stats WHERE tablename IN ('users', 'conversations', 'messages')"
        assert ask(superuser, stats)  # control: there are some, of ids and times
    with visit(inside, pool.thief):
        assert ask(inside, stats) == []
        assert ask(inside, "SELECT * FROM pg_stats_ext WHERE tablename IN ('users', 'messages')") == []


def test_servers_and_neighbours_show_themselves_by_id_and_never_by_name(
    inside: Connection, pool: Pair, bridge: Pair
) -> None:
    """Not a promise but a limit: names of databases and schemas hold tenants' ids, and the catalogue shows them."""
    with visit(inside, pool.thief):
        for source in ("pg_database", "pg_namespace", "pg_roles", "pg_stat_database", "pg_stat_user_tables"):
            shown = str(ask(inside, f"SELECT * FROM {source}"))
            assert pool.prey.slug not in shown
            assert bridge.prey.slug not in shown
