"""The app's login is a login and nothing more: it makes nothing, becomes nobody, and reaches one database."""

from __future__ import annotations

import itertools

import psycopg
import pytest
from psycopg import sql

from provisioning.roles import BACKUP, MIGRATOR, MOVER, OWNER, SUPERUSER, ensure_login
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
    visit,
)
from tests.platform_under_test import PlatformUnderTest

PLATFORM_ROLES = (SUPERUSER, OWNER, MIGRATOR, MOVER, BACKUP)
PREPARED_DISABLED = "55000"


@pytest.mark.parametrize("role", [*PLATFORM_ROLES, "pg_read_all_data", "pg_monitor", "bridge_1"])
def test_it_becomes_nobody_else(pooled: Connection, pool: Pair, role: str) -> None:
    for statement in ("SET ROLE {}", "SET LOCAL ROLE {}", "SET SESSION AUTHORIZATION {}", "GRANT {} TO CURRENT_USER"):
        assert refusal_in_visit(pooled, pool.thief, statement.format(role)) == DENIED, statement


def test_resetting_roles_leads_back_to_itself(inside: Connection, pool: Pair) -> None:
    login = home_of(pool.thief).login
    with visit(inside, pool.thief):
        for statement in ("RESET ROLE", "RESET SESSION AUTHORIZATION", "SET ROLE NONE", "DISCARD PLANS"):
            ask(inside, statement)
            assert ask(inside, "SELECT current_user::text, session_user::text") == [(login, login)]


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE loot (a int)",
        "CREATE TABLE public.loot AS SELECT 1",
        "CREATE TEMP TABLE loot (a int)",
        "SELECT 1 INTO TEMP loot",
        "CREATE SCHEMA loot",
        "CREATE SCHEMA AUTHORIZATION CURRENT_USER",
        "CREATE VIEW public.loot AS SELECT 1",
        "CREATE TEMP VIEW loot AS SELECT 1",
        "CREATE SEQUENCE public.loot",
        "CREATE TYPE public.loot AS (a int)",
        "CREATE DOMAIN public.loot AS int",
        "CREATE FUNCTION public.loot() RETURNS int RETURN 1",
        "CREATE FUNCTION tenancy.loot() RETURNS int RETURN 1",
        "CREATE FUNCTION pg_temp.loot() RETURNS int RETURN 1",
        "CREATE OR REPLACE FUNCTION tenancy.current_tenant() RETURNS uuid RETURN gen_random_uuid()",
        "CREATE AGGREGATE public.loot (int) (SFUNC = int4pl, STYPE = int)",
        "CREATE OPERATOR public.@@@ (LEFTARG = int, RIGHTARG = int, FUNCTION = int4pl)",
        'CREATE COLLATION public.loot FROM "C"',
        "CREATE EXTENSION pg_trgm",
        "CREATE EXTENSION dblink",
        "CREATE FOREIGN DATA WRAPPER loot",
        "CREATE SERVER loot FOREIGN DATA WRAPPER postgres_fdw",
        "CREATE PUBLICATION loot",
        "CREATE EVENT TRIGGER loot ON ddl_command_start EXECUTE FUNCTION pg_catalog.now()",
        "CREATE LANGUAGE plperl",
        "CREATE ROLE loot",
        "CREATE CAST (text AS uuid) WITHOUT FUNCTION",
        "DO $$ BEGIN PERFORM 1; END $$",
        "DO LANGUAGE plpgsql $$ BEGIN SET tenancy.context = 'x'; END $$",
        "LOAD 'dblink'",
        "ALTER FUNCTION tenancy.enter(text) RESET search_path",
        "DROP FUNCTION tenancy.current_tenant()",
        "ALTER SCHEMA tenancy RENAME TO mine",
        "SELECT tenancy.protect('messages')",
        "SELECT tenancy.conceal('messages')",
        "SELECT tenancy.admit(current_user)",
    ],
)
def test_it_makes_and_changes_nothing(pooled: Connection, pool: Pair, statement: str) -> None:
    # 42704: there is nothing of that name, e.g. a wrapper or an extension that nobody has installed.
    assert refusal_in_visit(pooled, pool.thief, statement) in {DENIED, "42704", "0A000", "42P17"}, statement


def test_it_cannot_prepare_a_transaction_to_outlive_it(pooled: Connection, pool: Pair) -> None:
    assert refusal_in_visit(pooled, pool.thief, "PREPARE TRANSACTION 'loot'") == PREPARED_DISABLED


@pytest.mark.parametrize("table", ["keys", "fences", "logins", "alembic_version"])
def test_it_reads_and_writes_nothing_of_the_tenancy_schema(pooled: Connection, pool: Pair, table: str) -> None:
    for statement in (
        "SELECT * FROM tenancy.{}",
        "DELETE FROM tenancy.{}",
        "INSERT INTO tenancy.{} DEFAULT VALUES",
        "LOCK TABLE tenancy.{} IN ACCESS SHARE MODE",
        "COPY tenancy.{} TO STDOUT",
    ):
        assert refusal_in_visit(pooled, pool.thief, statement.format(table)) == DENIED, statement


def test_of_the_tenancy_schema_it_may_call_enter_and_current_tenant_alone(
    platform: PlatformUnderTest, pair: Pair
) -> None:
    with platform.home_of(pair.thief) as superuser:
        callable_ = ask(
            superuser,
            "SELECT proname FROM pg_proc WHERE pronamespace = 'tenancy'::regnamespace"
            " AND (has_function_privilege(%s, oid, 'EXECUTE') OR has_function_privilege('public', oid, 'EXECUTE'))",
            home_of(pair.thief).login,
        )
    assert {name for (name,) in callable_} == {"enter", "current_tenant"}


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER DATABASE {login} SET work_mem = '1MB'",
        "ALTER DATABASE {login} CONNECTION LIMIT 0",
        "ALTER ROLE ALL SET work_mem = '1MB'",
        "ALTER ROLE {other} SET tenancy.context = 'x'",
        "ALTER ROLE {login} BYPASSRLS",
        "ALTER ROLE {login} SUPERUSER",
        "ALTER ROLE {login} CREATEROLE",
        "ALTER ROLE {login} CONNECTION LIMIT 0",
        "ALTER ROLE {login} VALID UNTIL '2000-01-01'",
        "ALTER ROLE {login} SET session_replication_role = replica",
        "ALTER ROLE {login} SET tenancy.context = 'x'",
        "COMMENT ON ROLE {login} IS 'x'",
    ],
)
def test_it_changes_no_role_and_no_database(pooled: Connection, bridge: Pair, pool: Pair, statement: str) -> None:
    names = {"login": home_of(pool.thief).login, "other": home_of(bridge.thief).login}
    assert refusal_in_visit(pooled, pool.thief, statement.format(**names)) == DENIED


def test_settings_that_a_login_gives_itself_make_no_context_and_go_when_it_is_ensured_again(
    platform: PlatformUnderTest,
) -> None:
    """PostgreSQL lets every role change its own settings and password; there is no taking that away.

    So an injection can spoil a database's connections to come, though not who sees what; `copyhold doctor` finds it
    and ensure_login, which is part of admitting a login to its database, puts it right.
    """
    victim = platform.tenant("silo")
    home = home_of(victim)
    with login_at(platform, home, Door.SERVER) as connection:
        ask(connection, f"ALTER ROLE {home.login} SET role = copyhold_owner")
        ask(connection, f"ALTER ROLE {home.login} SET row_security = off")
    with login_at(platform, home, Door.SERVER) as connection:
        assert ask(connection, "SELECT current_user::text") == [(home.login,)]
        with visit(connection, victim):
            assert refusal(connection, "SELECT subject FROM conversations") == DENIED
        ask(connection, f"ALTER ROLE {home.login} SET local_preload_libraries = 'nothing'")
        ask(connection, f"ALTER ROLE {home.login} IN DATABASE {home.database} SET statement_timeout = 1")
    with pytest.raises(psycopg.OperationalError, match="nothing"):
        login_at(platform, home, Door.SERVER)
    with platform.superuser("beta", "postgres") as superuser:
        ensure_login(superuser, home.login, database=home.database)
        settings = "SELECT setconfig FROM pg_db_role_setting WHERE setrole = %s::regrole"
        assert ask(superuser, settings, home.login) == [
            (["statement_timeout=15s", "idle_in_transaction_session_timeout=30s"],)
        ]
    with login_at(platform, home, Door.SERVER) as connection, visit(connection, victim):
        assert ask(connection, "SELECT count(*) FROM conversations") == [(1,)]


def databases_of(platform: PlatformUnderTest, server: str) -> list[str]:
    with platform.superuser(server, "postgres") as superuser:
        return [name for (name,) in ask(superuser, "SELECT datname FROM pg_database WHERE datallowconn")]


def test_it_connects_to_its_own_database_and_no_other(
    platform: PlatformUnderTest, pool: Pair, bridge: Pair, silo: Pair
) -> None:
    homes = [home_of(tenant) for tenant in (pool.thief, bridge.thief, silo.thief, silo.prey)]
    for mine, other in itertools.permutations(homes, 2):
        with pytest.raises(psycopg.OperationalError):
            login_at(platform, mine, Door.POOLER, dbname=other.alias)
        with pytest.raises(psycopg.OperationalError, match=r"pg_hba|does not exist"):
            login_at(platform, mine, Door.SERVER, dbname=other.database)
    for mine in homes:
        for database in ("postgres", "template1", "template0", "pgbouncer", "copyhold_control"):
            for door in Door:
                with pytest.raises(psycopg.OperationalError):
                    login_at(platform, mine, door, dbname=database)


def test_even_without_access_rules_it_has_no_right_to_connect_elsewhere(
    platform: PlatformUnderTest, pool: Pair, bridge: Pair, silo: Pair
) -> None:
    for server, tenants in (("alpha", (pool.thief, bridge.thief)), ("beta", (silo.thief, silo.prey))):
        with platform.superuser(server, "postgres") as superuser:
            for home in map(home_of, tenants):
                allowed = ask(
                    superuser,
                    "SELECT datname FROM pg_database WHERE has_database_privilege(%s, oid, 'CONNECT')"
                    " AND datname <> 'template0' OR has_database_privilege(%s, oid, 'CREATE, TEMP')",
                    home.login,
                    home.login,
                )
                assert allowed == [(home.database,)]


@pytest.mark.parametrize("role", PLATFORM_ROLES)
def test_the_pooler_lets_no_role_of_the_platform_in(platform: PlatformUnderTest, pool: Pair, role: str) -> None:
    with pytest.raises(psycopg.OperationalError):
        login_at(platform, home_of(pool.thief), Door.POOLER, user=role)


def test_the_template_of_silos_lets_nobody_in(platform: PlatformUnderTest) -> None:
    with platform.superuser("beta", "postgres") as superuser:
        templates = ask(superuser, "SELECT datname FROM pg_database WHERE datistemplate AND datname ~ 'template_'")
        assert templates
        for (name,) in templates:
            closed = sql.SQL("SELECT datallowconn FROM pg_database WHERE datname = {}").format(sql.Literal(name))
            assert superuser.execute(closed).fetchone() == (False,)


@pytest.mark.parametrize(
    "call",
    [
        "lo_create(0)",
        "lo_creat(-1)",
        "lo_from_bytea(0, 'x')",
        "lo_put(1, 0, 'x')",
        "lo_get(1)",
        "lo_open(1, 131072)",
        "lo_unlink(1)",
        "loread(0, 1)",
        "lowrite(0, 'x')",
        "lo_import('/etc/passwd')",
        "lo_export(1, '/tmp/loot')",
        "pg_read_file('/etc/passwd')",
        "pg_ls_dir('/')",
        "pg_switch_wal()",
        "pg_logical_emit_message(false, 'a', 'b')",
        "pg_create_physical_replication_slot('loot')",
        "pg_create_logical_replication_slot('loot', 'pgoutput')",
        "pg_export_snapshot()",
        "pg_reload_conf()",
        "pg_stat_reset()",
        "set_config('session_replication_role', 'replica', true)",
    ],
)
def test_large_objects_files_and_the_log_are_out_of_reach(pooled: Connection, pool: Pair, call: str) -> None:
    assert refusal_in_visit(pooled, pool.thief, f"SELECT {call}") == DENIED


def test_no_function_of_large_objects_is_left_to_it(platform: PlatformUnderTest, pair: Pair) -> None:
    with platform.home_of(pair.thief) as superuser:
        left = ask(
            superuser,
            "SELECT oid::regprocedure::text FROM pg_proc WHERE proname ~ '^lo_|^loread$|^lowrite$|advisory'"
            " AND pronamespace = 'pg_catalog'::regnamespace AND has_function_privilege(%s, oid, 'EXECUTE')",
            home_of(pair.thief).login,
        )
        assert left == []
        assert ask(superuser, "SELECT count(*) > 30 FROM pg_proc WHERE proname ~ '^lo_|advisory'") == [(True,)]
