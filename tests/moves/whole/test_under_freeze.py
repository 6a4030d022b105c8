"""Off a server that can send no stream: only with leave, and whatever happens nothing that was promised is lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from itertools import count
from typing import Any
from uuid import UUID

import psycopg
import pytest

from control_plane.domain.moving import PASSED, Phase, Recipe
from control_plane.domain.tenant import Model, Status
from control_plane.registry import servers, workflow_records
from control_plane.registry.engine import transaction
from control_plane.registry.workflows import MOVE, TIDY_MOVE
from control_plane.tenants import service
from provisioning.moves.forecast import foretell
from tests.moves.whole.journeys import (
    AT_ONCE,
    assert_one_home,
    begin,
    begin_back,
    cancel,
    change,
    move_of,
    wait_for,
)
from tests.moves.whole.traffic import assert_all_there, assert_nothing_lost, refused_all_along, traffic_of
from tests.parts import FAST, restart
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest
from tests.provisioning import worker
from tests.provisioning.workers import workers_alone
from tests.service_user import FailedThereError, as_service_user, killed_as_service_user
from tests.waiting import until

pytestmark = pytest.mark.slow

MUTE = "beta"
FIRST, FURTHER = 150, 14
"""After so many statements is the first mover killed; by so many does the next one come further."""


@pytest.fixture(scope="module")
def mute(town: PlatformUnderTest) -> Iterator[PlatformUnderTest]:
    """The platform while one of its servers logs too little to stream anything."""
    try:
        _set_wal_level(town, "SET wal_level = replica")
        yield town
    finally:
        _set_wal_level(town, "RESET wal_level")


@pytest.fixture
def tenant(mute: PlatformUnderTest) -> TenantUnderTest:
    """A tenant with a database of its own on that server."""
    return mute.tenant(Model.SILO, server=MUTE)


def _set_wal_level(town: PlatformUnderTest, change: str) -> None:
    with town.superuser(MUTE, "postgres") as admin:
        admin.execute(f"ALTER SYSTEM {change}".encode())
    restart(town, MUTE, FAST)


@contextmanager
def held_up(platform: PlatformUnderTest, table: str = "messages") -> Iterator[psycopg.Connection[Any]]:
    """Nobody can write into that table of the pool, by default the last one: after five seconds the mover gives up."""
    with transaction(platform.engine) as session:
        pool = servers.databases_of(session, "alpha", Model.POOL)[0].name
    with platform.superuser("alpha", pool) as home, home.transaction():
        home.execute(f"LOCK TABLE {table} IN SHARE MODE".encode())
        yield home


def wait_for_copy(home: psycopg.Connection[Any]) -> None:
    """Wait until a copy stands before the table that is held."""
    query = "SELECT FROM pg_locks WHERE locktype = 'relation' AND NOT granted"
    until(lambda: home.execute(query).fetchone() is not None, what="the copy has come that far", deadline_s=60)


def is_frozen(tenant: TenantUnderTest) -> bool:
    """Whether it is kept waiting in the home that it leaves."""
    with tenant.platform.home_of(tenant) as home:
        found = home.execute("SELECT state FROM tenancy.fences WHERE tenant_id = %s", [tenant.id]).fetchone()
    return found == ("frozen",)


def leave(tenant: TenantUnderTest, model: Model = Model.POOL, *, window: timedelta = AT_ONCE) -> UUID:
    """Ask for a move away, under freeze if need be; its id."""
    return begin(tenant, model, "alpha", window=window, allow_freeze=True)


def test_without_leave_it_is_refused_and_told_what_it_would_cost(tenant: TenantUnderTest) -> None:
    town = tenant.platform
    row = wait_for(town, begin(tenant, Model.POOL), Phase.CALLED_OFF)
    assert "on beta wal_level is replica" in str(row.reason)
    assert "copied under freeze, the tenant would stall for about" in str(row.reason)
    assert (row.recipe, row.target_id) == (Recipe.FREEZE, None)
    told = foretell(town.estate, tenant.slug, Model.POOL, None, allow_freeze=False, window_s=0)
    assert "; ".join(told.plan.objections) in str(row.reason)
    assert_one_home(tenant, Model.SILO, 1)


def test_all_that_was_written_arrives_and_the_way_back_is_a_stream(tenant: TenantUnderTest) -> None:
    town = tenant.platform
    with traffic_of(tenant) as traffic:
        move = wait_for(town, leave(tenant, window=timedelta(hours=1)), Phase.KEPT)
        seen = traffic.requests
        until(lambda: traffic.requests > seen + 10 or bool(traffic.errors), what="it is served there")
        assert (move.recipe, move.verified, move.note) == (Recipe.FREEZE, True, None)
        assert move.stall_ms is not None
        begin_back(tenant)
        wait_for(town, move.id, Phase.DONE)
    assert_nothing_lost(tenant, traffic)
    assert_one_home(tenant, Model.SILO, 3)


def test_who_is_suspended_arrives_so_with_all_that_was_written(tenant: TenantUnderTest) -> None:
    town = tenant.platform
    with traffic_of(tenant) as traffic:
        pass
    change(tenant, service.suspend)
    with refused_all_along(tenant):
        move = wait_for(town, leave(tenant), Phase.DONE)
    assert (move.recipe, move.verified, move.stall_ms) == (Recipe.FREEZE, True, None)
    assert_one_home(tenant, Model.POOL, 2, status=Status.SUSPENDED)
    change(tenant, service.resume)
    assert_nothing_lost(tenant, traffic)
    assert_one_home(tenant, Model.POOL, 2)


def test_where_nobody_can_stream_there_is_no_way_back(tenant: TenantUnderTest) -> None:
    town = tenant.platform
    with traffic_of(tenant) as traffic:
        move_id = begin(tenant, Model.BRIDGE, MUTE, window=timedelta(hours=1), allow_freeze=True)
        move = wait_for(town, move_id, Phase.DONE)
    assert str(move.note).startswith("no way back, and the old home goes at once: on beta wal_level is replica")
    assert (move.recipe, move.undo_window_s, move.verified) == (Recipe.FREEZE, 0, True)
    assert_nothing_lost(tenant, traffic)
    assert_one_home(tenant, Model.BRIDGE, 2)


def test_it_is_cancelled_amid_the_copy(tenant: TenantUnderTest) -> None:
    town = tenant.platform
    with traffic_of(tenant) as traffic:
        with held_up(town) as pool:
            move_id = leave(tenant)
            wait_for_copy(pool)
            assert is_frozen(tenant)
            cancel(tenant)
            until(lambda: not is_frozen(tenant), what="it is heard although the copy waits for a lock")
        wait_for(town, move_id, Phase.CALLED_OFF)
        seen = traffic.requests
        until(lambda: traffic.requests > seen + 5 or bool(traffic.errors), what="it is served where it was")
    assert move_of(town, move_id).reason == "The move was cancelled."
    assert_nothing_lost(tenant, traffic)
    assert_one_home(tenant, Model.SILO, 1)


def test_a_worker_killed_amid_the_copy_is_followed_by_one_that_thaws_and_calls_off(tenant: TenantUnderTest) -> None:
    town = tenant.platform
    with traffic_of(tenant) as traffic:
        with ExitStack() as nobody_works:
            with held_up(town) as pool:
                move_id = leave(tenant)
                wait_for_copy(pool)
                nobody_works.enter_context(workers_alone(town))
            assert is_frozen(tenant)
            # Whoever waits meanwhile is told in time when to come again.
            answer = tenant.http.get("/api/me")
            assert (answer.status_code, answer.json()["code"]) == (503, "tenant_frozen")
            assert int(answer.headers["Retry-After"]) > 0
        row = wait_for(town, move_id, Phase.CALLED_OFF)
        seen = traffic.requests
        until(lambda: traffic.requests > seen + 5, what="it is served where it was")
    assert "broken off" in str(row.reason)
    assert_all_there(tenant, traffic)
    assert_one_home(tenant, Model.SILO, 1)


def test_wherever_the_mover_is_killed_the_tenant_has_one_home(mute: PlatformUnderTest) -> None:
    """Ever later, until one has switched it: before that it goes back, thawed first, and from it on forward."""
    tenant, found = mute.tenant(Model.SILO, server=MUTE), list[tuple[Phase, bool]]()
    with workers_alone(mute), traffic_of(tenant) as traffic:
        for number in count(FIRST, FURTHER):
            move_id, work = leave(tenant), worker.carry_out_until_statement
            assert killed_as_service_user(mute.data, work, mute.settings, move_id, MOVE, number)
            row = move_of(mute, move_id)
            found.append((Phase(row.phase), is_frozen(tenant)))
            as_service_user(mute.data, worker.carry_out, mute.settings, move_id, TIDY_MOVE)
            if found[-1][0] in PASSED:
                break
            assert move_of(mute, move_id).phase == Phase.CALLED_OFF
            assert not is_frozen(tenant)
            with transaction(mute.engine) as session:
                workflow_records.ended(session, str(row.workflow_id))  # Nobody else works on it.
        as_service_user(mute.data, worker.carry_out, mute.settings, move_id, TIDY_MOVE)
    assert (Phase.FREEZING, True) in found
    assert_nothing_lost(tenant, traffic)
    assert_one_home(tenant, Model.POOL, 2)


def test_a_copy_that_takes_longer_than_it_may_is_given_up(tenant: TenantUnderTest) -> None:
    town = tenant.platform
    limits = town.settings.limits.model_copy(update={"frozen_copy_s": 1.0})
    settings = town.settings.model_copy(update={"limits": limits})
    with workers_alone(town), traffic_of(tenant) as traffic:
        move_id = leave(tenant)
        with held_up(town), pytest.raises(FailedThereError, match=r"FrozenTooLongError: .* longer than 1 s"):
            as_service_user(town.data, worker.carry_out, settings, move_id, MOVE)
        assert not is_frozen(tenant)
        as_service_user(town.data, worker.carry_out, settings, move_id, TIDY_MOVE)
        assert move_of(town, move_id).phase == Phase.CALLED_OFF
    assert_nothing_lost(tenant, traffic)
    assert_one_home(tenant, Model.SILO, 1)
