"""A control database that is down, hangs or is slow costs its own requests alone, and none of them hangs."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace

import psycopg
import pytest
from psycopg import sql

from control_plane.registry.engine import transaction
from control_plane.routing.feed import Roll
from provisioning.providers.base import ServerAddress
from provisioning.roles import SUPERUSER, connect
from tests.control_plane.conftest import MakeDatabase
from tests.control_plane.house import PASSWORD, ControlPlane, control_plane_of, control_plane_on

TIMEOUT_S = 0.5
FORM = {"company": "A Company", "slug": "acme", "email": "a@example.com", "password": PASSWORD}


@pytest.fixture
async def short(make_database: MakeDatabase) -> AsyncIterator[ControlPlane]:
    """A control plane that gives its database TIMEOUT_S."""
    async with control_plane_on(make_database(), control_timeout_s=TIMEOUT_S) as control_plane:
        yield control_plane


@contextmanager
def down(control_plane: ControlPlane, server: ServerAddress) -> Iterator[None]:
    """Nobody gets a connection, and those that there were are gone."""
    name = sql.Identifier(str(control_plane.engine.url.database))
    with connect(server.dsn(database="postgres", user=SUPERUSER)) as admin:
        admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(name))
        for pid in pids(admin, control_plane):
            admin.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
        try:
            yield
        finally:
            admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(name))


@contextmanager
def hanging(control_plane: ControlPlane, server: ServerAddress) -> Iterator[None]:
    """The connections that there are stay silent."""
    with connect(server.dsn(database="postgres", user=SUPERUSER)) as admin:
        stopped = pids(admin, control_plane)
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)


def pids(admin: psycopg.Connection[tuple[object, ...]], control_plane: ControlPlane) -> list[int]:
    found = admin.execute("SELECT pid FROM pg_stat_activity WHERE datname = %s", [control_plane.engine.url.database])
    return [int(str(pid)) for (pid,) in found]


async def test_a_database_that_is_down_is_told_and_known_tenants_are_served(
    short: ControlPlane, control_server: ServerAddress
) -> None:
    link = (await short.client().post("/signup", json=FORM)).json()["status_url"]
    short.finish(short.tenant("acme").id)
    await asyncio.to_thread(short.parts.roll.refresh)
    staff = short.staff()
    with down(short, control_server):
        ready = await short.client().get("/readyz")
        assert (ready.status_code, ready.json()["control_database"]) == (200, "down")
        assert (await short.client().get("/healthz")).status_code == 200
        metrics = await short.client().get("/metrics")
        assert (metrics.status_code, "copyhold_tenants{" in metrics.text) == (200, True)
        assert "copyhold_moves{" not in metrics.text
        assert (await short.client().get(link)).status_code == 200
        for answer in (await staff.get("/admin/tenants"), await short.client().post("/signup", json=FORM)):
            assert (answer.status_code, answer.json()["code"]) == (503, "control_database_down")
            assert "retry-after" in answer.headers
    assert (await staff.get("/admin/tenants")).status_code == 200


async def test_a_database_that_hangs_is_given_up_on(short: ControlPlane, control_server: ServerAddress) -> None:
    staff = short.staff()
    await asyncio.gather(*(staff.get("/admin/tenants") for _ in range(10)))
    with hanging(short, control_server):
        began = time.monotonic()
        asking = asyncio.create_task(staff.get("/admin/tenants"))
        ready = await short.client().get("/readyz")
        assert (ready.status_code, ready.json()["control_database"]) == (200, "down")
        answer = await asking
        assert (answer.status_code, answer.json()["code"]) == (503, "control_busy")
        assert time.monotonic() - began < 30
    assert (await staff.get("/admin/tenants")).status_code == 200


async def test_statements_that_take_too_long_are_ended(short: ControlPlane) -> None:
    staff = short.staff()
    with transaction(short.engine) as session:
        session.connection().exec_driver_sql("LOCK TABLE servers IN ACCESS EXCLUSIVE MODE")
        answer = await staff.get("/admin/servers")
        assert (answer.status_code, answer.json()["code"]) == (503, "control_database_down")
        assert (await staff.get("/admin/audit")).status_code == 200


async def test_a_process_without_a_roll_is_not_ready(short: ControlPlane) -> None:
    empty = Roll(short.engine, short.parts.settings.control_dsn, short.parts.keyring, None, poll_s=1)
    unready = control_plane_of(replace(short.parts, roll=empty))
    answer = await unready.client().get("/readyz")
    assert (answer.status_code, answer.json()["code"]) == (503, "roll_not_loaded")
