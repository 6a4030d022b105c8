"""What moves, suspensions and accidents do to a tenant, done to it by hand and behind the road's back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import text, update

from control_plane.domain.errors import UnavailableError
from control_plane.domain.tenant import Status
from control_plane.registry.engine import transaction
from control_plane.registry.tables import RouteRow, TenantRow
from control_plane.routing.feed import Roll
from control_plane.routing.road import Road
from provisioning.layout import CONTROL_DATABASE
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest

SERVED = "served"


def set_fence(tenant: TenantUnderTest, **values: Any) -> None:
    """Change columns of the tenant's fence."""
    with tenant.platform.home_of(tenant) as superuser:
        for column, value in values.items():
            change = sql.SQL("UPDATE tenancy.fences SET {} = %s WHERE tenant_id = %s").format(sql.Identifier(column))
            assert superuser.execute(change, [value, tenant.id]).rowcount == 1


def set_route(tenant: TenantUnderTest, *, epoch: int) -> None:
    """Publish another epoch."""
    with transaction(tenant.platform.engine) as session:
        session.execute(update(RouteRow).where(RouteRow.tenant_id == tenant.id).values(epoch=epoch))


def set_status(tenant: TenantUnderTest, status: Status) -> None:
    """Publish another status; whether a tenant may come to it does not matter here."""
    with transaction(tenant.platform.engine) as session:
        session.execute(update(TenantRow).where(TenantRow.id == tenant.id).values(status=str(status)))


def at_the_control_server(platform: PlatformUnderTest) -> psycopg.Connection[Any]:
    """A superuser's connection to the control database, in autocommit; use it as a context manager."""
    dsn = platform.layout.server("control").dsn(database=CONTROL_DATABASE, user="postgres")
    return psycopg.connect(dsn, autocommit=True)


class CountingRoll(Roll):
    """A roll that counts how often it is read, and can be told to hang."""

    reads = 0
    may_read = threading.Event()
    before_reading: Callable[[], None] | None = None

    def refresh(self) -> None:
        self.reads += 1
        assert self.may_read.wait(60)
        if self.before_reading is not None:
            self.before_reading()
        super().refresh()


def counting_roll(platform: PlatformUnderTest) -> CountingRoll:
    """One that has been read, its count at zero."""
    roll = CountingRoll(platform.engine, platform.settings.control_dsn, platform.keyring, None, poll_s=60)
    roll.may_read = threading.Event()
    roll.may_read.set()
    roll.refresh()
    roll.reads = 0
    return roll


async def who(road: Road, tenant: TenantUnderTest) -> bool:
    """Visit the tenant; whether the database says that it is this one."""
    async with road.enter(tenant.id) as session:
        return bool((await session.execute(text("SELECT tenancy.current_tenant()"))).scalar_one() == tenant.id)


async def outcome(road: Road, tenant: TenantUnderTest) -> str:
    """What became of one visit: SERVED, or the code of a refusal that says when to come back."""
    try:
        assert await who(road, tenant)
    except UnavailableError as refusal:
        return refusal.code if refusal.retry_after_s else f"{refusal.code} without a word of when"
    return SERVED
