"""The inbox, with each answer saying from which home it came: platforms of tests are told to serve this app."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from control_plane.domain.route import Route
from control_plane.routing.road import Road
from control_plane.routing.tokens import Mode
from tenant_app.inbox import Inbox

APP = "tests.moves.whole.witness:witness"
HEADER = "x-answered-by"
FACTS = "SELECT current_database() || '.' || current_schema(), extract(epoch FROM clock_timestamp())::float8"
_visits: ContextVar[list[dict[str, Any]] | None] = ContextVar("visits", default=None)
_epoch: ContextVar[int] = ContextVar("epoch")


@dataclass(frozen=True, kw_only=True)
class Witness(Inbox):
    """Tells of each visit that a request has made: home, epoch, and when, by its server's clock, before the commit."""

    def create_asgi(self, road: Road) -> ASGIApp:
        """The app over `road`."""
        _watch(road)
        app = super().create_asgi(road)

        async def telling(scope: Scope, receive: Receive, send: Send) -> None:
            visits: list[dict[str, Any]] = []
            _visits.set(visits)

            async def tell(message: Message) -> None:
                if message["type"] == "http.response.start":
                    message["headers"] = [*message["headers"], (HEADER.encode(), json.dumps(visits).encode())]
                await send(message)

            await app(scope, receive, tell)

        return telling


def _watch(road: Road) -> None:
    enter, begin = road.enter, road._begin

    async def begun(route: Route, mode: Mode = Mode.SERVE) -> Any:
        inside = await begin(route, mode)
        _epoch.set(route.epoch)
        return inside

    @asynccontextmanager
    async def entered(tenant_id: UUID) -> AsyncIterator[AsyncSession]:
        async with enter(tenant_id) as session:
            yield session
            home, at = (await session.execute(text(FACTS))).one()
            visits = _visits.get()
            if visits is not None:
                visits.append({"home": home, "epoch": _epoch.get(), "at": at})

    road._begin, road.enter = begun, entered  # type: ignore[method-assign]


witness = Witness()
