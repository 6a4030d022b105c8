"""tenancy.enter takes tokens of the road's making, once they fit, and nothing else. Each attack has its control."""

from __future__ import annotations

import hashlib
import hmac
import time

import pytest
from psycopg import sql

from control_plane.domain.route import Home
from tests.attacks.burglar import (
    BAD_TOKEN,
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
)
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest

HUGE = "x" * 10_000_000
EXPIRED, OTHER_EPOCH, NO_FENCE, NOT_OPEN = "CH002", "CH003", "CH007", "CH009"


def shown(connection: Connection, token: str | None) -> str:
    """The refusal of a token shown as the app would show it, bound and not written into the text."""
    connection.execute("BEGIN")
    try:
        return refusal(connection, "SELECT tenancy.enter(%s)", token)
    finally:
        connection.execute("ROLLBACK")


def parts(token: str) -> list[str]:
    return token.split("|")


def with_part(token: str, position: int, value: str) -> str:
    return "|".join(value if at == position else part for at, part in enumerate(parts(token)))


def test_a_genuine_token_opens_its_tenants_rows_and_no_others(
    platform: PlatformUnderTest, pair: Pair, door: Door
) -> None:
    with login_at(platform, home_of(pair.thief), door) as connection:
        enter(connection, pair.thief)
        assert ask(connection, "SELECT tenancy.current_tenant()") == [(pair.thief.id,)]
        seen = subjects(connection)
        assert f"only {pair.thief.slug} knows" in seen
        assert pair.secret not in seen
        connection.execute("ROLLBACK")


def test_a_forged_signature_is_refused(inside: Connection, pool: Pair) -> None:
    token = token_for(pool.prey)
    forged = token[:-1] + ("0" if token[-1] != "0" else "1")
    assert shown(inside, forged) == BAD_TOKEN
    assert shown(inside, with_part(token, 4, "0" * 64)) == BAD_TOKEN
    assert shown(inside, with_part(token, 4, parts(token)[4].upper())) == BAD_TOKEN


def test_a_signature_under_a_key_of_the_burglars_own_is_refused(inside: Connection, pool: Pair) -> None:
    facts = token_for(pool.prey).rpartition("|")[0]
    for key in (b"", b"\0" * 32, b"copyhold"):
        mac = hmac.digest(key, f"{facts}|{home_of(pool.prey).database}".encode(), hashlib.sha256).hex()
        assert shown(inside, f"{facts}|{mac}") == BAD_TOKEN


@pytest.mark.parametrize(
    ("position", "value"),
    [(1, "2"), (1, "01"), (2, "setup"), (3, "99999999999"), (3, "9" * 30), (0, "0" * 8)],
    ids=["epoch", "epoch-written-otherwise", "mode", "expiry", "expiry-out-of-range", "tenant-cut"],
)
def test_a_token_with_any_part_changed_is_refused(inside: Connection, pool: Pair, position: int, value: str) -> None:
    assert shown(inside, with_part(token_for(pool.thief), position, value)) == BAD_TOKEN


def test_a_token_for_another_tenant_than_it_was_signed_for_is_refused(inside: Connection, pool: Pair) -> None:
    swapped = with_part(token_for(pool.thief), 0, str(pool.prey.id))
    assert shown(inside, swapped) == BAD_TOKEN


def test_the_border_between_two_parts_cannot_be_moved(inside: Connection, pool: Pair) -> None:
    tenant, epoch, mode, expiry, mac = parts(token_for(pool.thief))
    assert shown(inside, f"{tenant}|{epoch}{mode}||{expiry}|{mac}") == BAD_TOKEN
    assert shown(inside, f"{tenant}{epoch}||{mode}|{expiry}|{mac}") == BAD_TOKEN
    assert shown(inside, f"|{tenant}|{epoch}|{mode}|{expiry}|{mac}") == BAD_TOKEN
    assert shown(inside, f"{tenant}|{epoch}|{mode}|{expiry}|{mac}|") == BAD_TOKEN


@pytest.mark.parametrize(
    "token",
    [
        None,
        "",
        "|",
        "||||",
        "|||||",
        "a|b|c|d|e",
        "é|ü|ß|€|😀",
        "\N{FULLWIDTH DIGIT ONE}|1|serve|1|x",
        HUGE,
        "|" * 1_000_000,
    ],
    ids=["null", "empty", "one", "four-bars", "five-bars", "letters", "non-ascii", "wide", "huge", "huge-bars"],
)
def test_what_is_no_token_at_all_is_refused(inside: Connection, token: str | None) -> None:
    assert shown(inside, token) == BAD_TOKEN


@pytest.mark.parametrize("kept", [1, 36, 40, -65, -64, -1])
def test_a_truncated_token_is_refused(inside: Connection, pool: Pair, kept: int) -> None:
    assert shown(inside, token_for(pool.thief)[:kept]) == BAD_TOKEN


def test_a_token_with_something_behind_it_is_refused(inside: Connection, pool: Pair) -> None:
    for more in (" ", "\n", "0", "é", "\\"):
        assert shown(inside, token_for(pool.thief) + more) == BAD_TOKEN


def test_an_expired_token_is_refused(inside: Connection, pool: Pair) -> None:
    assert shown(inside, token_for(pool.thief, life_s=-1)) == EXPIRED
    assert shown(inside, token_for(pool.thief, life_s=-int(time.time()))) == EXPIRED


def test_a_stolen_token_is_worth_nothing_once_its_seconds_are_over(inside: Connection, pool: Pair) -> None:
    ask(inside, "SELECT 1")  # The pooler has a server connection before the token is made, which lives for 2 to 3 s.
    stolen = token_for(pool.prey, life_s=3)
    enter(inside, pool.prey, stolen)
    inside.execute("ROLLBACK")
    # The server's own clock is waited for, in one statement: an entry is good up to and including its last second.
    ask(
        inside, "SELECT pg_sleep(greatest(0, %s - extract(epoch FROM clock_timestamp())))", int(parts(stolen)[3]) + 0.05
    )
    assert shown(inside, stolen) == EXPIRED


def test_a_token_of_an_older_or_newer_epoch_is_refused(inside: Connection, pool: Pair) -> None:
    assert shown(inside, token_for(pool.thief, epoch=pool.thief.route.epoch + 1)) == OTHER_EPOCH


def test_a_setup_token_is_not_made_of_a_serving_one(platform: PlatformUnderTest, pool: Pair) -> None:
    home = home_of(pool.thief)
    with platform.home_of(pool.thief) as superuser, superuser.transaction(force_rollback=True):
        superuser.execute("UPDATE tenancy.fences SET state = 'ready' WHERE tenant_id = %s", [pool.thief.id])
        assert refusal(superuser, "SELECT tenancy.enter(%s)", token_for(pool.thief, home=home)) == NOT_OPEN


def test_a_pools_token_is_refused_in_every_other_database(
    platform: PlatformUnderTest, pool: Pair, bridge: Pair, silo: Pair
) -> None:
    for elsewhere in (bridge.thief, silo.thief):
        with login_at(platform, home_of(elsewhere)) as connection:
            assert shown(connection, token_for(pool.thief)) == BAD_TOKEN
            enter(connection, elsewhere)
            connection.execute("ROLLBACK")


def test_one_silos_token_is_refused_in_another_silo(platform: PlatformUnderTest, silo: Pair) -> None:
    with login_at(platform, home_of(silo.thief)) as connection:
        assert shown(connection, token_for(silo.prey)) == BAD_TOKEN


def test_a_token_of_a_tenant_that_does_not_live_here_is_refused(
    platform: PlatformUnderTest, pool: Pair, bridge: Pair
) -> None:
    with login_at(platform, home_of(pool.thief)) as connection:
        assert shown(connection, token_for(bridge.thief, home=home_of(pool.thief))) == NO_FENCE


def test_a_token_is_refused_in_a_copy_of_its_database_that_has_the_same_key(
    platform: PlatformUnderTest, silo: Pair
) -> None:
    home = home_of(silo.prey)
    copy = f"copy_{home.database}"[:60]
    there = Home(database_id=home.database_id, alias=copy, database=copy, login="postgres", schema=home.schema)
    make = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(copy), sql.Identifier(home.database))
    drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(copy))
    with platform.superuser("beta", "postgres") as superuser:
        superuser.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", [home.database]
        )
        superuser.execute(make)
        try:
            with platform.superuser("beta", copy) as connection:
                keys = "SELECT encode(inner_pad, 'hex') FROM tenancy.keys"
                assert ask(connection, keys) == _asked_at_home(platform, silo.prey, keys)
                assert shown(connection, token_for(silo.prey)) == BAD_TOKEN
                enter(connection, silo.prey, token_for(silo.prey, home=there))  # control: the name is all it took
                connection.execute("ROLLBACK")
        finally:
            superuser.execute(drop)


def _asked_at_home(platform: PlatformUnderTest, tenant: TenantUnderTest, query: str) -> list[tuple[object, ...]]:
    with platform.home_of(tenant) as superuser:
        return ask(superuser, query)
