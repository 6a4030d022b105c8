"""A sealed context is good in the one transaction it was sealed for, and nobody can write one of their own."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from tests.attacks.burglar import (
    DENIED,
    NO_CONTEXT,
    Connection,
    Door,
    Pair,
    ask,
    enter,
    home_of,
    login_at,
    refusal,
    subjects,
    token_for,
    visit,
)
from tests.platform_under_test import PlatformUnderTest

WHO = "SELECT tenancy.current_tenant()"
READ = "SELECT set_config('probe.it', current_setting('tenancy.context'), false)"
PUT_BACK = "SELECT set_config('tenancy.context', %s, true)"


@pytest.fixture
def past_the_pooler(platform: PlatformUnderTest, pool: Pair) -> Iterator[Connection]:
    """One server process for all the transactions of a test."""
    with login_at(platform, home_of(pool.thief), Door.SERVER) as connection:
        yield connection


def seal_of(connection: Connection) -> str:
    ((seal,),) = ask(connection, "SELECT current_setting('tenancy.context')")
    assert isinstance(seal, str)
    return seal


def nobody(connection: Connection) -> bool:
    """Whether there is no context; asked in a savepoint, so that more can be asked."""
    with connection.transaction():
        pass
    connection.execute("SAVEPOINT nobody")
    state = refusal(connection, WHO)
    connection.execute("ROLLBACK TO nobody")
    return state == NO_CONTEXT


def test_without_a_context_nothing_can_be_read_or_written(burglar: Connection, pair: Pair) -> None:
    schema = home_of(pair.prey if pair.prey.model == "bridge" else pair.thief).schema
    burglar.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(schema)))
    for statement in (
        "SELECT subject FROM {}.conversations",
        "SELECT count(*) FROM {}.messages",
        "UPDATE {}.users SET name = 'Mallory'",
        "DELETE FROM {}.messages",
        "INSERT INTO {}.users (tenant_id, id, name, role, kind)"
        f" VALUES ('{pair.thief.id}', gen_random_uuid(), 'M', 'owner', 'service')",
    ):
        assert refusal(burglar, statement.format(schema)) == NO_CONTEXT, statement
    with (
        pytest.raises(psycopg.Error) as refused,
        burglar.cursor().copy(f"COPY {schema}.messages TO STDOUT".encode()) as out,
    ):
        out.read()
    assert refused.value.sqlstate == NO_CONTEXT


def test_a_context_of_an_earlier_transaction_of_the_same_process_is_worth_nothing(
    past_the_pooler: Connection, pool: Pair
) -> None:
    for ending in ("COMMIT", "ROLLBACK", "COMMIT AND CHAIN"):
        enter(past_the_pooler, pool.prey)
        stolen = seal_of(past_the_pooler)
        assert ask(past_the_pooler, PUT_BACK, stolen)
        assert ask(past_the_pooler, WHO) == [(pool.prey.id,)]  # control: in its own transaction it is good
        past_the_pooler.execute(ending.encode())
        if not ending.endswith("CHAIN"):
            past_the_pooler.execute("BEGIN")
        ask(past_the_pooler, PUT_BACK, stolen)
        assert refusal(past_the_pooler, WHO) == NO_CONTEXT
        past_the_pooler.execute("ROLLBACK")


def test_a_context_is_worth_nothing_in_another_process(
    platform: PlatformUnderTest, past_the_pooler: Connection, pool: Pair
) -> None:
    with login_at(platform, home_of(pool.thief), Door.SERVER) as another, visit(past_the_pooler, pool.prey):
        another.execute("BEGIN")
        ask(another, PUT_BACK, seal_of(past_the_pooler))
        assert refusal(another, WHO) == NO_CONTEXT
        another.execute("ROLLBACK")


def test_a_stash_in_the_session_brings_no_context_back(past_the_pooler: Connection, pool: Pair) -> None:
    enter(past_the_pooler, pool.prey)
    ask(past_the_pooler, READ)
    past_the_pooler.execute("COMMIT")
    past_the_pooler.execute("BEGIN")
    ask(past_the_pooler, "SELECT set_config('tenancy.context', current_setting('probe.it'), true)")
    assert refusal(past_the_pooler, WHO) == NO_CONTEXT
    past_the_pooler.execute("ROLLBACK")


def test_setting_the_context_for_the_session_lasts_no_longer_than_the_transaction(
    past_the_pooler: Connection, pool: Pair
) -> None:
    enter(past_the_pooler, pool.prey)
    ask(past_the_pooler, "SELECT set_config('tenancy.context', %s, false)", seal_of(past_the_pooler))
    past_the_pooler.execute("COMMIT")
    assert refusal(past_the_pooler, WHO) == NO_CONTEXT
    past_the_pooler.execute("BEGIN")
    assert refusal(past_the_pooler, WHO) == NO_CONTEXT
    past_the_pooler.execute("ROLLBACK")


def test_a_savepoint_gives_back_what_was_entered_before_it_and_takes_what_was_entered_after(
    inside: Connection, pool: Pair
) -> None:
    inside.execute("BEGIN; SAVEPOINT before")
    ask(inside, "SELECT tenancy.enter(%s)", token_for(pool.thief))
    seal = seal_of(inside)
    inside.execute("ROLLBACK TO before")
    assert nobody(inside)
    ask(inside, "SELECT tenancy.enter(%s)", token_for(pool.thief))
    inside.execute("SAVEPOINT entered")
    ask(inside, PUT_BACK, "")
    assert nobody(inside)
    inside.execute("ROLLBACK TO entered")
    assert ask(inside, WHO) == [(pool.thief.id,)]
    assert seal == seal_of(inside)  # the same transaction, the same seal: never another tenant's
    inside.execute("ROLLBACK")


def test_forged_contexts_are_no_contexts(inside: Connection, pool: Pair) -> None:
    with visit(inside, pool.thief):
        seal = seal_of(inside)
        assert len(seal) == 100
        prey = str(pool.prey.id)
        for forged in (
            prey,
            prey + seal[36:],
            prey + "0" * 64,
            prey + secrets.token_hex(32),
            token_for(pool.prey),
            f"seal|{prey}",
            seal[:-1],
            seal + " ",
            seal.upper(),
            "x" * 100,
            "é" * 100,
            "",
        ):
            ask(inside, PUT_BACK, forged)
            assert nobody(inside), forged
        ask(inside, PUT_BACK, seal)
        assert ask(inside, WHO) == [(pool.thief.id,)]


@pytest.mark.parametrize(
    "setting",
    [
        "RESET ALL",
        "RESET tenancy.context",
        "SET tenancy.context = DEFAULT",
        "SET tenancy.context = '{prey}'",
        "SET LOCAL tenancy.context = '{prey}'",
        "SET SESSION tenancy.context TO '{prey}{rest}'",
        "SELECT set_config('tenancy.context', NULL, true)",
        "SELECT set_config('tenancy.context', '{prey}{rest}', false)",
    ],
)
def test_no_way_of_setting_the_context_makes_one(inside: Connection, pool: Pair, setting: str) -> None:
    with visit(inside, pool.thief):
        ask(inside, setting.format(prey=pool.prey.id, rest=seal_of(inside)[36:]))
        assert refusal(inside, "SELECT subject FROM conversations") == NO_CONTEXT


def test_the_context_ends_with_a_commit_in_the_midst_of_a_request(burglar: Connection, pair: Pair) -> None:
    for ending in ("COMMIT", "ROLLBACK", "COMMIT; BEGIN", "END; BEGIN ISOLATION LEVEL SERIALIZABLE"):
        enter(burglar, pair.thief)
        schema = home_of(pair.prey if pair.prey.model == "bridge" else pair.thief).schema
        burglar.execute(ending.encode())
        assert refusal(burglar, f"SELECT subject FROM {schema}.conversations") == NO_CONTEXT
        burglar.execute("ROLLBACK")


def test_a_holder_of_a_live_token_can_use_one_entry_twice_within_one_message_and_nowhere_else(
    past_the_pooler: Connection, pool: Pair
) -> None:
    """All transactions of one simple query begin at the same instant, which is what a seal is bound to.

    It takes a live token inside that message, so injected SQL cannot do it, and opens nobody's rows but that tenant's.
    What it gets past is the fence, for the rest of the message.
    """
    stash = "SELECT set_config('probe.it', current_setting('tenancy.context'), false)"
    restore = "SELECT set_config('tenancy.context', current_setting('probe.it'), true)"
    enter_it = f"SELECT tenancy.enter('{token_for(pool.thief)}')"
    past_the_pooler.execute(f"BEGIN; {enter_it}; {stash}; COMMIT; BEGIN; {restore}; {WHO}; COMMIT".encode())
    past_the_pooler.execute(f"BEGIN; {restore}".encode())
    assert refusal(past_the_pooler, WHO) == NO_CONTEXT
    past_the_pooler.execute("ROLLBACK")


@pytest.mark.parametrize("name", ["tenancy.context", "search_path", "role", "row_security"])
def test_start_up_options_bring_no_context(platform: PlatformUnderTest, pool: Pair, name: str) -> None:
    value = {"tenancy.context": f"{pool.prey.id}{'0' * 64}", "role": "copyhold_owner", "row_security": "off"}.get(
        name, "pg_temp"
    )
    options = {"options": f"-c {name}={value}"}
    with pytest.raises(Exception, match="unsupported startup parameter"):
        login_at(platform, home_of(pool.thief), Door.POOLER, **options)
    if name == "role":
        with pytest.raises(Exception, match="permission denied to set role"):
            login_at(platform, home_of(pool.thief), Door.SERVER, **options)
        return
    with login_at(platform, home_of(pool.thief), Door.SERVER, **options) as connection:
        assert refusal(connection, "SELECT subject FROM public.conversations") in (NO_CONTEXT, DENIED)
        with visit(connection, pool.thief):
            if name == "row_security":
                assert refusal(connection, "SELECT subject FROM conversations") == DENIED
            else:
                assert pool.secret not in subjects(connection)


def test_functions_with_settings_of_their_own_bring_no_context(platform: PlatformUnderTest, pool: Pair) -> None:
    """The app can make none; a superuser makes one for it here, and takes it back."""
    login = sql.Identifier(home_of(pool.thief).login)
    with platform.home_of(pool.thief) as superuser, superuser.transaction(force_rollback=True):
        superuser.execute(
            sql.SQL(
                "CREATE SCHEMA lair; GRANT USAGE ON SCHEMA lair TO {login};"
                "CREATE FUNCTION lair.who() RETURNS uuid LANGUAGE sql SET tenancy.context = {forged}"
                " AS 'SELECT tenancy.current_tenant()'; SET LOCAL ROLE {login}"
            ).format(login=login, forged=sql.Literal(f"{pool.prey.id}{'0' * 64}"))
        )
        ask(superuser, "SELECT tenancy.enter(%s)", token_for(pool.thief))
        assert ask(superuser, WHO) == [(pool.thief.id,)]
        assert refusal(superuser, "SELECT lair.who()") == NO_CONTEXT


def test_shadows_of_the_functions_and_operators_that_guard_change_nothing(
    platform: PlatformUnderTest, pool: Pair
) -> None:
    """The app can make none; a superuser makes them here, first on the search path, and takes them back."""
    login = sql.Identifier(home_of(pool.thief).login)
    with platform.home_of(pool.thief) as superuser, superuser.transaction(force_rollback=True):
        superuser.execute(
            sql.SQL(
                """
                CREATE SCHEMA lair; GRANT USAGE ON SCHEMA lair TO {login};
                CREATE FUNCTION lair.yes(uuid, uuid) RETURNS boolean LANGUAGE sql AS 'SELECT true';
                CREATE FUNCTION lair.no(bytea, bytea) RETURNS boolean LANGUAGE sql AS 'SELECT false';
                CREATE FUNCTION lair.yes(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
                CREATE OPERATOR lair.= (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = lair.yes);
                CREATE OPERATOR lair.= (LEFTARG = text, RIGHTARG = text, FUNCTION = lair.yes);
                CREATE OPERATOR lair.<> (LEFTARG = bytea, RIGHTARG = bytea, FUNCTION = lair.no);
                CREATE FUNCTION lair.sha256(bytea) RETURNS bytea LANGUAGE sql AS $$SELECT ''::bytea$$;
                CREATE FUNCTION lair.current_database() RETURNS name LANGUAGE sql AS $$SELECT 'x'::name$$;
                CREATE FUNCTION lair.current_tenant() RETURNS uuid LANGUAGE sql AS $$SELECT {prey}::uuid$$;
                SET LOCAL search_path = lair, pg_catalog, public, tenancy;
                SET LOCAL ROLE {login};
                """
            ).format(login=login, prey=sql.Literal(str(pool.prey.id)))
        )
        forged = token_for(pool.prey)[:-64] + "0" * 64
        superuser.execute("SAVEPOINT here")
        assert refusal(superuser, "SELECT tenancy.enter(%s)", forged) == "CH001"
        superuser.execute("ROLLBACK TO here")
        ask(superuser, "SELECT tenancy.enter(%s)", token_for(pool.thief))
        assert ask(superuser, "SELECT current_tenant()") == [(pool.prey.id,)]  # control: the shadow stands in front
        assert f"only {pool.thief.slug} knows" in subjects(superuser)
        assert pool.secret not in subjects(superuser)


def test_no_foreign_schema_can_be_put_in_front(inside: Connection, pool: Pair) -> None:
    with visit(inside, pool.thief):
        ask(inside, "SET LOCAL search_path = pg_temp, lair, public")
        assert refusal(inside, "CREATE FUNCTION pg_temp.sha256(bytea) RETURNS bytea RETURN ''::bytea") == DENIED
