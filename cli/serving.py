"""The process of a platform that serves: the API."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp

from cli.marks import marked_ready
from cli.ports import bound
from cli.wiring import Platform, open_platform
from control_plane.api.app import ControlParts, create_control_app
from control_plane.api.dismissal import Dismissing
from control_plane.api.dispatch import ByHost
from control_plane.domain.errors import SetupError
from control_plane.log import configure_logging
from control_plane.registry import processes
from control_plane.routing.announcing import Announcer
from control_plane.routing.feed import Roll
from control_plane.routing.road import Road
from control_plane.settings import Settings
from migrations.fleet import gate

DRAIN_S = 10
BACKLOG = 2048


def run_api(data: Path | None, number: int = 1) -> None:
    """Serve until SIGTERM or SIGINT, as the API process of that number; requests in flight are finished.

    SetupError when it cannot listen. Others of this user may listen on the same port before, beside and after it.
    """
    configure_logging()
    with open_platform(data, number) as platform, _entrance(platform.settings) as entrance:
        config = uvicorn.Config(
            create_app(platform),
            lifespan="on",
            access_log=False,
            log_level="warning",
            server_header=False,
            proxy_headers=False,  # Nothing stands before it: what a client says of its address counts for nothing.
            backlog=BACKLOG,
            timeout_graceful_shutdown=DRAIN_S,
        )
        uvicorn.Server(config).run(sockets=[entrance])


def _entrance(settings: Settings) -> socket.socket:
    """Bound, and not listening yet: nobody is to wait for a process that still starts."""
    host, port = settings.http_host, settings.http_port
    try:
        return bound(host, port, shared=True)
    except OSError as error:
        raise SetupError(f"cannot listen on {host}, port {port}: {error.strerror}") from error


def create_app(platform: Platform) -> ASGIApp:
    """Both apps behind one port, told apart by host; the road and the roll live as long as the app's lifespan."""
    # Read before anything is served: a chain that cannot be read is told in a line.
    older = gate.older(platform.chain, platform.app.revisions)
    app = Starlette(lifespan=partial(_lifespan, platform, older))
    app.router.default = ByHost(app.state)
    return app


@asynccontextmanager
async def _lifespan(platform: Platform, older: frozenset[str], app: Starlette) -> AsyncIterator[None]:
    settings = platform.settings
    roll = Roll(
        platform.engine,
        settings.control_dsn,
        platform.keyring,
        settings.snapshot_file,
        poll_s=settings.limits.feed_poll_s,
    )
    road = Road(settings, platform.keyring, roll, revisions=platform.app.revisions, older=older)
    announcer = Announcer(
        platform.engine,
        processes.API,
        platform.app.revisions,
        roll_version=lambda: roll.snapshot.version,
        keyring=platform.keyring,
    )
    await asyncio.to_thread(roll.start)
    announcer.start()
    try:
        await road.check_shared_homes()
        parts = ControlParts(
            settings=settings,
            engine=platform.engine,
            workflows=platform.workflows,
            keyring=platform.keyring,
            roll=roll,
            throttle=road.throttle,
            source=road.source,
        )
        app.state.base_domain = settings.base_domain
        app.state.control = create_control_app(parts)
        app.state.tenant = Dismissing(platform.app.create_asgi(road), roll, settings.base_domain)
        _settle_garbage()
        with marked_ready(settings.ready_file):
            yield
    finally:
        await road.close()
        await asyncio.to_thread(announcer.stop)
        await asyncio.to_thread(roll.stop)


def _settle_garbage() -> None:
    """Leave what lives as long as the process out of every collection: the apps' many objects are walked in vain."""
    gc.collect()
    gc.freeze()
