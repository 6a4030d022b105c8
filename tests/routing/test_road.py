"""Where the road leads, and when it refuses: stale, suspended, closed, unready, incompatible, unsafe, down."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest
from psycopg import sql

from control_plane.domain.errors import UnknownTenantError
from control_plane.domain.tenant import Status
from control_plane.routing.refusals import (
    ClosedError,
    IncompatibleError,
    MovedError,
    NotReadyError,
    SuspendedError,
    UnsafeHomeError,
)
from control_plane.routing.road import Road
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest
from tests.routing.hands import CountingRoll, counting_roll, set_fence, set_route, set_status, who
from tests.routing.roads import road_over, soon
from tests.routing.scratch import ScratchPooler


@pytest.fixture(scope="module")
def traveller(platform: PlatformUnderTest) -> TenantUnderTest:
    """A tenant to whom much happens; every test leaves it open, active and reachable."""
    return platform.tenant("pool")


@pytest.fixture(scope="module")
def householder(platform: PlatformUnderTest) -> TenantUnderTest:
    """The same, with a database of its own."""
    return platform.tenant("silo")


@pytest.fixture
def roll(platform: PlatformUnderTest, traveller: TenantUnderTest, householder: TenantUnderTest) -> CountingRoll:
    """A roll as it is now; nothing keeps it fresh but the road."""
    return counting_roll(platform)


@pytest.fixture
async def road(pooler: ScratchPooler, roll: CountingRoll, householder: TenantUnderTest) -> AsyncIterator[Road]:
    pooler.apply()
    async with road_over(pooler.platform, pooler.settings, roll=roll) as road:
        yield road


@contextlib.contextmanager
def moved(tenant: TenantUnderTest, *, fence: bool = True, route: bool = True) -> Iterator[None]:
    """The tenant at the next epoch, in its fence and on the roll."""
    epoch = tenant.route.epoch
    try:
        if fence:
            set_fence(tenant, epoch=epoch + 1)
        if route:
            set_route(tenant, epoch=epoch + 1)
        yield
    finally:
        set_fence(tenant, epoch=epoch)
        set_route(tenant, epoch=epoch)


async def test_every_model_is_reached(
    road: Road, pool_tenant: TenantUnderTest, bridge_tenant: TenantUnderTest, silo_tenant: TenantUnderTest
) -> None:
    for tenant in (pool_tenant, bridge_tenant, silo_tenant):
        assert await who(road, tenant)


async def test_a_stale_epoch_is_reloaded_once_and_served(
    road: Road, roll: CountingRoll, traveller: TenantUnderTest
) -> None:
    assert await who(road, traveller)
    with moved(traveller):
        assert await who(road, traveller)
        assert roll.reads == 1
        assert await who(road, traveller)
        assert roll.reads == 1


async def test_a_move_that_is_not_published_yet_is_refused_after_one_reload(
    road: Road, roll: CountingRoll, traveller: TenantUnderTest
) -> None:
    with moved(traveller, route=False):
        with pytest.raises(MovedError):
            await who(road, traveller)
        assert roll.reads == 1
        assert road.source.state.lent == 0
    assert await who(road, traveller)


async def test_the_closed_fence_of_a_home_that_was_left_is_no_closed_tenant(
    road: Road, roll: CountingRoll, traveller: TenantUnderTest
) -> None:
    """An old route leads to a closed fence after a move. The new home is the old one here, at the next epoch."""
    epoch = traveller.route.epoch

    def arrive() -> None:
        set_fence(traveller, state="open", epoch=epoch + 1)

    assert await who(road, traveller)
    set_fence(traveller, state="closed")
    with pytest.raises(ClosedError):
        await who(road, traveller)
    assert roll.reads == 1
    with moved(traveller, fence=False):
        roll.before_reading = arrive
        assert await who(road, traveller)
    assert roll.reads == 2


async def test_many_stale_visits_share_their_reloads(
    road: Road, roll: CountingRoll, traveller: TenantUnderTest
) -> None:
    """The first reads. Those who were refused while it did cannot know whether it began too early; they share one."""
    assert await who(road, traveller)
    with moved(traveller):
        roll.may_read.clear()
        visits = [asyncio.ensure_future(who(road, traveller)) for _ in range(40)]
        await soon(lambda: len(road._reload_lock._waiters or ()) == 39, what="all of them want the roll")
        assert road.source.state.lent == 0
        roll.may_read.set()
        assert all(await asyncio.gather(*visits))
    assert roll.reads == 2


async def test_a_control_database_that_hangs_holds_nobody_up_for_long(
    pooler: ScratchPooler, roll: CountingRoll, traveller: TenantUnderTest, pool_tenant: TenantUnderTest
) -> None:
    async with road_over(pooler.platform, pooler.settings, roll=roll, control_timeout_s=0.1) as road:
        roll.may_read.clear()
        try:
            with moved(traveller):
                for _ in range(3):
                    with pytest.raises(MovedError):
                        await asyncio.wait_for(who(road, traveller), 5)
                assert await who(road, pool_tenant)
        finally:
            roll.may_read.set()


@pytest.mark.parametrize(
    ("status", "refusal"),
    [
        (Status.SUSPENDED, SuspendedError),
        (Status.CLOSING, ClosedError),
        (Status.CLOSED, ClosedError),
        (Status.PROVISIONING, NotReadyError),
        (Status.FAILED, NotReadyError),
    ],
)
async def test_a_status_that_is_not_served_is_refused_without_a_connection(
    road: Road, roll: CountingRoll, traveller: TenantUnderTest, status: Status, refusal: type[Exception]
) -> None:
    before = road.source.state
    set_status(traveller, status)
    try:
        roll.refresh()
        with pytest.raises(refusal):
            await who(road, traveller)
        assert road.source.state == before
    finally:
        set_status(traveller, Status.ACTIVE)
    roll.refresh()
    assert await who(road, traveller)


async def test_a_tenant_is_served_while_it_moves(road: Road, roll: CountingRoll, traveller: TenantUnderTest) -> None:
    set_status(traveller, Status.MOVING)
    try:
        roll.refresh()
        assert await who(road, traveller)
    finally:
        set_status(traveller, Status.ACTIVE)


@pytest.mark.parametrize(
    ("state", "refusal"), [("suspended", SuspendedError), ("closed", ClosedError), ("ready", NotReadyError)]
)
async def test_the_fence_refuses_what_an_old_roll_would_still_serve(
    road: Road, roll: CountingRoll, traveller: TenantUnderTest, state: str, refusal: type[Exception]
) -> None:
    assert road.route_of(traveller.id).status is Status.ACTIVE
    set_fence(traveller, state=state)
    try:
        with pytest.raises(refusal):
            await who(road, traveller)
        assert road.source.state.lent == 0
    finally:
        set_fence(traveller, state="open")
    assert await who(road, traveller)


async def test_a_home_that_is_not_open_is_entered_for_setting_it_up(
    road: Road, roll: CountingRoll, traveller: TenantUnderTest
) -> None:
    set_fence(traveller, state="ready")
    try:
        async with road.enter_unopened(road.route_of(traveller.id)) as session:
            assert session.in_transaction()
    finally:
        set_fence(traveller, state="open")


async def test_an_unknown_tenant_is_refused(road: Road) -> None:
    with pytest.raises(UnknownTenantError):
        async with road.enter(uuid4()):
            pass


async def test_a_fence_that_is_missing_is_a_home_that_was_left(road: Road, traveller: TenantUnderTest) -> None:
    with traveller.platform.home_of(traveller) as superuser:
        ((epoch,),) = superuser.execute(
            "DELETE FROM tenancy.fences WHERE tenant_id = %s RETURNING epoch", [traveller.id]
        ).fetchall()
        try:
            with pytest.raises(MovedError):
                await who(road, traveller)
        finally:
            superuser.execute("INSERT INTO tenancy.fences VALUES (%s, %s, 'open')", [traveller.id, epoch])


async def test_a_revision_that_the_app_does_not_know_is_refused_for_that_home_alone(
    pooler: ScratchPooler, roll: CountingRoll, traveller: TenantUnderTest
) -> None:
    revision = traveller.route.revision
    assert revision is not None
    async with road_over(pooler.platform, pooler.settings, roll=roll, revisions={revision}) as road:
        assert await who(road, traveller)
    async with road_over(pooler.platform, pooler.settings, roll=roll, revisions={"from the future"}) as road:
        with pytest.raises(IncompatibleError) as refused:
            await who(road, traveller)
        assert refused.value.facts == {"revision": revision}
        assert road.source.state.most == 0


DAMAGES = {
    "row-level security is off": (
        "ALTER TABLE messages DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE messages ENABLE ROW LEVEL SECURITY",
    ),
    "it is not forced": (
        "ALTER TABLE messages NO FORCE ROW LEVEL SECURITY",
        "ALTER TABLE messages FORCE ROW LEVEL SECURITY",
    ),
    "a second policy opens it": ("CREATE POLICY more ON messages USING (true)", "DROP POLICY more ON messages"),
    "its policy lets anything be written": (
        "ALTER POLICY tenant_only ON messages WITH CHECK (true)",
        "ALTER POLICY tenant_only ON messages WITH CHECK (tenant_id = (SELECT tenancy.current_tenant()))",
    ),
    "its policy lets anything be read": (
        "ALTER POLICY tenant_only ON messages USING (true)",
        "ALTER POLICY tenant_only ON messages USING (tenant_id = (SELECT tenancy.current_tenant()))",
    ),
    "a table is open to the login": (
        "CREATE TABLE loose (a int); GRANT SELECT ON loose TO {login}",
        "DROP TABLE loose",
    ),
    "the login bypasses": ("ALTER ROLE {login} BYPASSRLS", "ALTER ROLE {login} NOBYPASSRLS"),
    "the login is a superuser": ("ALTER ROLE {login} SUPERUSER", "ALTER ROLE {login} NOSUPERUSER"),
    "the login is a member": ("GRANT pg_read_all_data TO {login}", "REVOKE pg_read_all_data FROM {login}"),
    "the login owns a table": (
        "CREATE TABLE mine (a int); ALTER TABLE mine OWNER TO {login}",
        "DROP TABLE mine",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_an_unsafe_home_is_not_served_until_it_is_repaired(
    road: Road, householder: TenantUnderTest, pool_tenant: TenantUnderTest, damage: str
) -> None:
    home = householder.route.home
    assert home is not None
    harm, repair = (sql.SQL(statement).format(login=sql.Identifier(home.login)) for statement in DAMAGES[damage])
    with householder.platform.home_of(householder) as superuser:
        superuser.execute(harm)
        try:
            for _ in range(2):
                with pytest.raises(UnsafeHomeError) as refused:
                    await who(road, householder)
                assert refused.value.facts["findings"]
            assert await who(road, pool_tenant)
            await road.check_shared_homes()
        finally:
            superuser.execute(repair)
    assert await who(road, householder)


async def test_shared_homes_are_checked_before_anything_is_served(
    pooler: ScratchPooler, roll: CountingRoll, platform: PlatformUnderTest, bridge_tenant: TenantUnderTest
) -> None:
    with platform.home_of(bridge_tenant) as superuser:
        superuser.execute("ALTER TABLE messages NO FORCE ROW LEVEL SECURITY")
        try:
            async with road_over(pooler.platform, pooler.settings, roll=roll) as road:
                with pytest.raises(UnsafeHomeError):
                    await who(road, bridge_tenant)
        finally:
            superuser.execute("ALTER TABLE messages FORCE ROW LEVEL SECURITY")
    async with road_over(pooler.platform, pooler.settings, roll=roll) as road:
        await road.check_shared_homes()
        assert road.source.state.idle > 0
