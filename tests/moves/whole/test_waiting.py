"""Transactions that are in a move's way: named, waited for, ended in time, and in nobody else's way."""

from __future__ import annotations

import asyncio
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from control_plane.domain.moving import Phase
from control_plane.domain.tenant import Model
from control_plane.registry.workflows import MOVE, TIDY_MOVE
from control_plane.routing.refusals import TooSlowError
from tests.moves.whole.journeys import AT_ONCE, assert_one_home, begin, cancel, move_of, settle, wait_for
from tests.moves.whole.moments import carry_out_or_fail, carry_out_when_told
from tests.moves.whole.traffic import assert_nothing_lost, traffic_of
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest
from tests.provisioning.workers import workers_alone
from tests.routing.roads import road_over
from tests.service_user import as_service_user
from tests.waiting import until

pytestmark = pytest.mark.slow

HEARD_WITHIN_S = 10.0
"""Whoever waits for a lock asks every five seconds whether to go on."""
OPEN_FOR_S = 8.0
"""Long enough for some tries to freeze the tenant."""
IN_THE_WAY = re.compile(r"^waits for process \d+ of pool_\d, idle in transaction, for \d+\.\d s")
"""The oldest first."""


@pytest.mark.parametrize("server", ["alpha", "beta"], ids=["for_the_way_there", "for_the_way_back"])
def test_it_names_who_it_waits_for_and_hears_of_a_cancel_meanwhile(town: PlatformUnderTest, server: str) -> None:
    """A stream cannot begin while somebody who has written something has not committed, whatever it was."""
    tenant = town.tenant(Model.POOL)
    with town.superuser(server, "postgres") as stranger, stranger.transaction():
        stranger.execute("SELECT pg_current_xact_id()")
        move_id = begin(tenant, Model.SILO, "beta")
        named = f"postgres in postgres (process {stranger.info.backend_pid})"
        until(lambda: named in str(move_of(town, move_id).reason), what="it is named")
        assert tenant.http.get("/api/me").status_code == 200
        cancel(tenant)
        wait_for(town, move_id, Phase.CALLED_OFF, deadline_s=HEARD_WITHIN_S)
        assert_one_home(tenant, Model.POOL, 1)


async def _hold_open(tenant: TenantUnderTest, inside: threading.Event) -> None:
    async with (
        road_over(tenant.platform, transaction_timeout_s=OPEN_FOR_S) as road,
        road.enter(tenant.id) as session,
    ):
        await session.execute(text("SELECT count(*) FROM conversations"))
        inside.set()
        await asyncio.Event().wait()


def test_a_long_read_of_the_tenants_own_is_named_until_the_app_ends_it(town: PlatformUnderTest) -> None:
    """Whoever is inside keeps it from being frozen. Everybody is served in between."""
    tenant, inside, told = town.tenant(Model.POOL), threading.Event(), town.data / "told"
    told.unlink(missing_ok=True)
    with workers_alone(town), traffic_of(tenant) as traffic, ThreadPoolExecutor(2) as others:
        move_id = begin(tenant, Model.BRIDGE)
        work = others.submit(
            as_service_user, town.data, carry_out_when_told, town.settings, move_id, MOVE, Phase.FREEZING, told, None
        )
        until(lambda: work.done() or move_of(town, move_id).phase == Phase.FREEZING, what="it is about to freeze")
        reading = others.submit(asyncio.run, _hold_open(tenant, inside))
        until(lambda: inside.is_set() or reading.done(), what="somebody reads")
        told.touch()
        until(lambda: move_of(town, move_id).tries > 1, what="it was tried twice")
        assert IN_THE_WAY.search(str(move_of(town, move_id).reason))
        seen = traffic.requests
        until(lambda: traffic.requests > seen or bool(traffic.errors), what="everybody is served")
        with pytest.raises(TooSlowError):
            reading.result()
        work.result()
        move = move_of(town, move_id)
        assert (move.phase, move.reason) == (Phase.KEPT, None)
        settle(tenant)
        as_service_user(town.data, carry_out_or_fail, town.settings, move_id, TIDY_MOVE, None)
    assert_nothing_lost(tenant, traffic)
    assert_one_home(tenant, Model.BRIDGE, 2)


def test_a_reporting_tool_that_reads_for_long_keeps_nobody_waiting_but_the_broom(town: PlatformUnderTest) -> None:
    """It reads the schema that is left, and that cannot be dropped before it has come to its end."""
    tenant = town.tenant(Model.BRIDGE)
    with workers_alone(town), traffic_of(tenant) as traffic:
        with town.home_of(tenant) as stranger, stranger.transaction():
            stranger.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM conversations")
            move_id = begin(tenant, Model.POOL, "alpha", window=AT_ONCE)
            for kind in (MOVE, TIDY_MOVE):
                as_service_user(town.data, carry_out_or_fail, town.settings, move_id, kind, None)
            move = move_of(town, move_id)
            assert (move.phase, move.verified) == (Phase.CLEANING, True)
            assert "lock timeout" in str(move.reason)
        as_service_user(town.data, carry_out_or_fail, town.settings, move_id, TIDY_MOVE, None)
    assert_nothing_lost(tenant, traffic)
    assert_one_home(tenant, Model.POOL, 2)
