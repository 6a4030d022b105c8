"""Where the pooler's reset has failed: whoever comes next sees rows of its own, or is refused.

PgBouncer does not notice such a failure. Here there is no pooler, and so nothing is reset at all.
"""

from __future__ import annotations

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
    leave,
    login_at,
    refusal,
    subjects,
)
from tests.platform_under_test import PlatformUnderTest

OWN = "rows of its own"
TIMED_OUT = "57014"
READ_ONLY = "25006"
TIME_OUT = "a time-out"
SHADOWS = ("conversations", "messages", "users")
SHADOW = "CREATE TEMP TABLE {0} AS SELECT * FROM {0}"

# What the thief leaves behind, and what may become of the prey's visit then.
LEFT: dict[str, tuple[tuple[str, ...], set[str]]] = {
    "row security off": (("SET row_security = off",), {DENIED}),
    "a search path": (("SET search_path = {thief_schema}, pg_temp, {prey_schema}",), {OWN}),
    "shadows of the tables": (
        (*(SHADOW.format(table) for table in SHADOWS), "SET search_path = pg_temp, {prey_schema}"),
        {OWN},
    ),
    TIME_OUT: ((), {OWN, TIMED_OUT}),
    "its own seal": (("SELECT set_config('tenancy.context', current_setting('tenancy.context'), false)",), {OWN}),
    "a claim to be the prey": (("SELECT set_config('tenancy.context', '{prey}' || repeat('0', 64), false)",), {OWN}),
    "read only": (("SET default_transaction_read_only = on",), {READ_ONLY}),
    "another isolation": (("SET default_transaction_isolation = 'serializable'",), {OWN}),
    "all that a transaction begins with": (
        (
            "SET default_transaction_isolation = 'serializable'",
            "SET default_transaction_read_only = on",
            "SET default_transaction_deferrable = on",
        ),
        {READ_ONLY},
    ),
    "another planner": (
        (
            "SET work_mem = '64kB'",
            "SET cpu_operator_cost = 0",
            "SET plan_cache_mode = 'force_generic_plan'",
            *(f"SET enable_{way} = off" for way in ("indexscan", "indexonlyscan", "bitmapscan", "hashagg", "sort")),
        ),
        {OWN},
    ),
    "another way to read and write": (
        (
            "SET standard_conforming_strings = off",
            "SET transform_null_equals = on",
            "SET quote_all_identifiers = on",
            "SET bytea_output = 'escape'",
            "SET client_encoding = 'LATIN1'",
            "SET DateStyle = 'SQL, DMY'",
            "SET TimeZone = 'Asia/Tokyo'",
        ),
        {OWN},
    ),
    "what it has prepared and holds": (
        (
            "PREPARE spy AS SELECT tenant_id FROM conversations",
            *["EXECUTE spy"] * 6,
            "DECLARE held CURSOR WITH HOLD FOR SELECT tenant_id FROM conversations",
            "LISTEN spy",
        ),
        {OWN},
    ),
}
ALL = "all of it"
LEFT[ALL] = (
    tuple(statement for statements, _ in LEFT.values() for statement in statements if "row_security" not in statement),
    {READ_ONLY, TIMED_OUT},
)
TRAPS = {
    "shadows of the tables": [f"SELECT tenant_id FROM pg_temp.{table}" for table in SHADOWS],
    "what it has prepared and holds": ["FETCH ALL FROM held"],
}


@pytest.fixture(params=["pool", "bridge"])
def neighbours(request: pytest.FixtureRequest) -> Pair:
    """Two tenants of one database and one login."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Pair)
    return found


@pytest.fixture
def spoiled(platform: PlatformUnderTest, neighbours: Pair) -> Iterator[Connection]:
    """A server connection that is never reset, of a login that may make temporary tables, as none may otherwise."""
    home = home_of(neighbours.thief)
    names = {"database": sql.Identifier(home.database), "login": sql.Identifier(home.login)}
    with platform.home_of(neighbours.thief) as superuser, login_at(platform, home, Door.SERVER) as connection:
        superuser.execute(sql.SQL("GRANT TEMPORARY ON DATABASE {database} TO {login}").format(**names))
        try:
            yield connection
        finally:
            superuser.execute(sql.SQL("REVOKE TEMPORARY ON DATABASE {database} FROM {login}").format(**names))


def leave_behind(connection: Connection, pair: Pair, what: str) -> None:
    """A visit of the thief that leaves that behind, about these two tenants."""
    schemas = {"thief_schema": home_of(pair.thief).schema, "prey_schema": home_of(pair.prey).schema}
    statements = [statement.format(prey=pair.prey.id, **schemas) for statement in LEFT[what][0]]
    leave(connection, pair, *statements, at_last=["SET statement_timeout = 1"] if what in {TIME_OUT, ALL} else [])


def become_of(connection: Connection, pair: Pair) -> str:
    """What becomes of a visit of the prey that reads and writes without a condition: OWN, or why it was refused."""
    try:
        enter(connection, pair.prey)
        assert subjects(connection) == {pair.secret}
        for table in SHADOWS:
            assert ask(connection, f"SELECT DISTINCT tenant_id FROM {table}") == [(pair.prey.id,)], table
        touched = ask(connection, "UPDATE conversations SET subject = subject RETURNING tenant_id")
        assert set(touched) == {(pair.prey.id,)}
        if ask(connection, "SELECT FROM pg_prepared_statements WHERE name = 'spy'"):
            assert set(ask(connection, "EXECUTE spy")) == {(pair.prey.id,)}
        connection.execute("COMMIT")
    except psycopg.Error as refused:
        return refused.sqlstate or str(refused)
    return OWN


@pytest.mark.parametrize("what", LEFT)
def test_the_next_tenant_sees_rows_of_its_own_or_is_refused(spoiled: Connection, neighbours: Pair, what: str) -> None:
    leave_behind(spoiled, neighbours, what)
    assert become_of(spoiled, neighbours) in LEFT[what][1]


@pytest.mark.parametrize("what", LEFT)
def test_who_has_not_entered_is_refused_whatever_is_left_behind(
    spoiled: Connection, neighbours: Pair, what: str
) -> None:
    leave_behind(spoiled, neighbours, what)
    schema = home_of(neighbours.prey).schema
    assert refusal(spoiled, f"SELECT * FROM {schema}.conversations") in {NO_CONTEXT, DENIED, TIMED_OUT}


@pytest.mark.parametrize("what", TRAPS)
def test_who_has_laid_traps_finds_nothing_of_the_next_tenant_in_them(
    spoiled: Connection, neighbours: Pair, what: str
) -> None:
    leave_behind(spoiled, neighbours, what)
    assert become_of(spoiled, neighbours) == OWN
    enter(spoiled, neighbours.thief)
    for trap in TRAPS[what]:
        assert set(ask(spoiled, trap)) == {(neighbours.thief.id,)}, trap
