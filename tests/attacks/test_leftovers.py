"""What a transaction leaves on its server connection is gone before the next tenant's begins.

One server connection for all: a PgBouncer of our configuration with pool_size 1 in front of the pool.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from control_plane.routing.connections import TRACKED
from tests.attacks.burglar import (
    Connection,
    Door,
    Pair,
    ask,
    enter,
    home_of,
    leave,
    login_at,
    process_of,
    refusal,
    visit,
)
from tests.platform_under_test import PlatformUnderTest
from tests.routing.roads import road_over
from tests.routing.scratch import ScratchPooler, scratch_pooler


@pytest.fixture(scope="module")
def narrow(platform: PlatformUnderTest, pool: Pair) -> Iterator[ScratchPooler]:
    """A pooler with one server connection a database."""
    with scratch_pooler(platform, pool_size=1) as pooler:
        yield pooler


def through(narrow: ScratchPooler, pair: Pair) -> Connection:
    return login_at(narrow.platform, home_of(pair.thief), host=str(narrow.folder), port=narrow.port)


@pytest.fixture
def thief(narrow: ScratchPooler, pool: Pair) -> Iterator[Connection]:
    with through(narrow, pool) as connection:
        yield connection


@pytest.fixture
def prey(narrow: ScratchPooler, pool: Pair) -> Iterator[Connection]:
    with through(narrow, pool) as connection:
        yield connection


SETTINGS = {
    "statement_timeout": "10001",
    "lock_timeout": "10002",
    "idle_in_transaction_session_timeout": "10003",
    "search_path": "pg_temp",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
    "row_security": "off",
    "work_mem": "64kB",
    "enable_indexscan": "off",
    "lo_compat_privileges": "off",
    "tenancy.context": "x" * 100,
    "probe.stash": "stolen",
}


def test_settings_of_a_session_are_gone_for_the_next_tenant(thief: Connection, prey: Connection, pool: Pair) -> None:
    before = {name: ask(prey, f"SELECT current_setting('{name}', true)") for name in SETTINGS}
    settings = [f"SET SESSION {name} = '{value}'" for name, value in SETTINGS.items() if name != "lo_compat_privileges"]
    process = leave(thief, pool, *settings)
    assert process_of(prey) == process
    for name, was in before.items():
        now = ask(prey, f"SELECT current_setting('{name}', true)")
        assert (now[0][0] or "") == (was[0][0] or ""), name
    with visit(prey, pool.prey):
        assert (pool.secret,) in ask(prey, "SELECT subject FROM conversations")


TIME_OUT = "20ms"
"""What the reset must not run into: far less than what is slow takes, and long enough for what is asked before it."""
A_MESSAGE, MESSAGES = 100, 200
SLOW = [
    "; ".join(f"PREPARE p{message}_{number} AS SELECT 1" for number in range(A_MESSAGE)) for message in range(MESSAGES)
]
"""Some at once, and not all: the server keeps the whole message with each."""


@pytest.mark.slow
def test_a_reset_that_was_made_slow_does_not_run_into_a_time_out_that_was_left_behind(
    thief: Connection, prey: Connection, pool: Pair
) -> None:
    """PgBouncer does not notice a reset that fails, and hands the connection on as it is."""
    poison = ("work_mem = '64kB'", "row_security = off", f"statement_timeout = '{TIME_OUT}'")
    process = leave(thief, pool, *SLOW, at_last=[f"SET SESSION {setting}" for setting in poison])
    found = "SELECT pg_backend_pid(), current_setting('work_mem'), current_setting('statement_timeout')"
    assert ask(prey, found) == [(process, "4MB", "15s")]


@pytest.mark.slow
def test_a_reset_that_was_made_slow_does_not_run_into_a_time_out_that_the_login_has_been_given(
    narrow: ScratchPooler, silo: Pair
) -> None:
    """Every login may change its own settings, and RESET ALL brings back what it has been given."""
    home = home_of(silo.thief)
    with login_at(narrow.platform, home, Door.SERVER) as login:
        ask(login, f"ALTER ROLE CURRENT_USER SET statement_timeout = '{TIME_OUT}'")
        try:
            narrow.apply(pool_size=1)
            with through(narrow, silo) as before, through(narrow, silo) as after:
                process = leave(before, silo, *SLOW, "SET SESSION work_mem = '64kB'")
                # Within a visit, which begins with a time-out of its own.
                with visit(after, silo.thief):
                    found = "SELECT pg_backend_pid(), current_setting('work_mem'), count(*) FROM pg_prepared_statements"
                    assert ask(after, found) == [(process, "4MB", 0)]
        finally:
            ask(login, "ALTER ROLE CURRENT_USER SET statement_timeout = '15s'")


def test_past_the_pooler_they_would_stay(platform: PlatformUnderTest, pool: Pair) -> None:
    """The control: it is the pooler's reset that ends them, not the end of the transaction."""
    with login_at(platform, home_of(pool.thief), Door.SERVER) as connection:
        leave(connection, pool, "SET work_mem = '64kB'", "PREPARE spy AS SELECT 1", "LISTEN spy")
        assert ask(connection, "SHOW work_mem") == [("64kB",)]
        assert ask(connection, "SELECT name FROM pg_prepared_statements") == [("spy",)]
        assert ask(connection, "SELECT pg_listening_channels()") == [("spy",)]


def test_statements_prepared_under_any_name_are_gone(thief: Connection, prey: Connection, pool: Pair) -> None:
    names = ("spy", "_pg3_0", "PGBOUNCER_1", "stmt_1", "S_1", "")
    process = leave(thief, pool, *(f'PREPARE "{name}" AS SELECT subject FROM conversations' for name in names if name))
    assert process_of(prey) == process
    assert ask(prey, "SELECT name FROM pg_prepared_statements") == []
    enter(prey, pool.prey)
    assert refusal(prey, "EXECUTE spy") == "26000"
    prey.execute("ROLLBACK")


def test_a_client_that_prepares_gets_its_own_statement_and_never_a_planted_one(
    narrow: ScratchPooler, thief: Connection, pool: Pair
) -> None:
    """The road prepares nothing. A client that did, through this pooler, would meet no statement of another's."""
    options: dict[str, Any] = {"host": str(narrow.folder), "port": narrow.port}
    home = home_of(pool.prey)
    with psycopg.connect(dbname=home.alias, user=home.login, autocommit=True, prepare_threshold=0, **options) as prey:
        leave(thief, pool, """PREPARE "_pg3_0" AS SELECT 'planted'""", """PREPARE "_pg3_1" AS SELECT 'planted'""")
        try:
            assert prey.execute("SELECT 'mine'").fetchall() == [("mine",)]
        except psycopg.errors.InvalidSqlStatementName:
            return  # refused is as good: there is no statement of that name left
        leave(thief, pool, """PREPARE "_pg3_0" AS SELECT 'planted'""")
        with pytest.raises(psycopg.Error) as refused:
            prey.execute("SELECT 'mine'")
        assert refused.value.sqlstate == "26000"


def test_cursors_that_are_held_are_gone(thief: Connection, prey: Connection, pool: Pair) -> None:
    process = leave(thief, pool, "DECLARE spy CURSOR WITH HOLD FOR SELECT * FROM conversations")
    assert process_of(prey) == process
    assert ask(prey, "SELECT name FROM pg_cursors") == []
    assert refusal(prey, "FETCH spy") == "34000"


def test_a_stash_of_rows_in_a_setting_is_gone(thief: Connection, prey: Connection, pool: Pair) -> None:
    enter(prey, pool.prey)
    ask(prey, "SELECT set_config('probe.rows', (SELECT string_agg(subject, ',') FROM conversations), false)")
    process = process_of(prey)
    prey.execute("COMMIT")
    assert process_of(thief) == process
    assert ask(thief, "SELECT coalesce(current_setting('probe.rows', true), '')") == [("",)]


def test_who_listens_hears_nothing_after_its_transaction(thief: Connection, prey: Connection, pool: Pair) -> None:
    process = leave(thief, pool, "LISTEN spy")
    assert ask(prey, "SELECT pg_listening_channels()") == []
    leave(prey, pool, "NOTIFY spy, 'overheard'")
    assert process_of(thief) == process
    assert list(thief.notifies(timeout=0)) == []


def test_nothing_in_a_home_notifies_anybody(platform: PlatformUnderTest, pair: Pair) -> None:
    """NOTIFY and LISTEN cannot be taken from a role, and channels know no tenants: so homes do without them.

    Within one message of several transactions a burglar can listen. There is nothing to hear.
    """
    with platform.home_of(pair.prey) as superuser:
        assert ask(superuser, "SELECT proname FROM pg_proc WHERE prosrc ~* 'notify' AND pronamespace > 16383") == []
        assert ask(superuser, "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal") == []
        assert ask(superuser, "SELECT rulename FROM pg_rewrite WHERE oid > 16383") == []


def test_a_failed_or_abandoned_visit_leaves_as_little(narrow: ScratchPooler, prey: Connection, pool: Pair) -> None:
    with through(narrow, pool) as thief:
        enter(thief, pool.thief)
        ask(thief, "SET SESSION work_mem = '64kB'")
        refusal(thief, "SELECT 1/0")
        thief.execute("ROLLBACK")
        assert ask(prey, "SHOW work_mem") == [("4MB",)]
    thief = through(narrow, pool)
    enter(thief, pool.thief)
    ask(thief, "SET SESSION work_mem = '64kB'")
    thief.pgconn.finish()
    assert ask(prey, "SHOW work_mem") == [("4MB",)]
    assert refusal(prey, "SELECT tenancy.current_tenant()") == "CH008"


@pytest.mark.parametrize(
    "setting",
    [
        "TimeZone = 'Asia/Tokyo'",
        "DateStyle = 'SQL, DMY'",
        "IntervalStyle = 'iso_8601'",
        "client_encoding = 'LATIN1'",
        "standard_conforming_strings = off",
        "application_name = 'spy'",
    ],
)
async def test_what_the_pooler_keeps_for_a_client_does_not_meet_the_next_tenant(
    narrow: ScratchPooler, pool: Pair, setting: str
) -> None:
    """PgBouncer puts these on again after its reset; the road lends no connection on which they have changed."""
    name = setting.partition(" ")[0]
    async with one_connection(narrow) as road:
        async with road.enter(pool.prey.id) as session:
            usual = (await session.execute(text(f"SHOW {name}"))).scalar_one()
        async with road.enter(pool.thief.id) as session:
            await session.execute(text(f"SET SESSION {setting}"))
        async with road.enter(pool.prey.id) as session:
            assert (await session.execute(text(f"SHOW {name}"))).scalar_one() == usual
        assert road.source.state.most == 1


async def test_a_pooled_client_connection_would_keep_them(narrow: ScratchPooler, pool: Pair) -> None:
    """The control, and the reason for TRACKED: every setting that this PgBouncer tracks is on the list."""
    with through(narrow, pool) as connection:
        leave(connection, pool, "SET SESSION TimeZone = 'Asia/Tokyo'")
        assert ask(connection, "SHOW TimeZone") == [("Asia/Tokyo",)]
    (extra,) = [row["value"] for row in narrow.console("SHOW CONFIG") if row["key"] == "track_extra_parameters"]
    assert {name.strip().lower() for name in str(extra).split(",")} <= {name.decode().lower() for name in TRACKED}


@asynccontextmanager
async def one_connection(narrow: ScratchPooler) -> AsyncIterator[Any]:
    async with road_over(narrow.platform, narrow.settings, client_connections=1) as road:
        yield road


async def test_an_injected_copy_costs_its_connection_and_nobody_elses_visit(narrow: ScratchPooler, pool: Pair) -> None:
    async with one_connection(narrow) as road:
        for statement in ("COPY conversations TO STDOUT", "COPY users FROM STDIN"):
            with pytest.raises(Exception, match=r"COPY|home"):
                async with road.enter(pool.thief.id) as session:
                    await session.execute(text(statement))
            assert road.source.state.lent == 0
            async with road.enter(pool.prey.id) as session:
                found = (await session.execute(text("SELECT tenancy.current_tenant()"))).scalar_one()
            assert found == uuid.UUID(str(pool.prey.id))
