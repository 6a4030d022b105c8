"""A tenant app whose answers last: streams without an end, and a transaction that is held for as long as it may be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from sqlalchemy import text
from starlette.types import ASGIApp

from control_plane.api.errors import install_errors
from control_plane.routing.road import Road
from control_plane.routing.visitor import visitor_of
from tenant_app.inbox import Inbox

app = FastAPI()


@app.get("/api/visits")
async def visits(request: Request) -> StreamingResponse:
    """A line for each visit to the home, visit after visit."""
    road: Road = request.app.state.road
    tenant_id = visitor_of(request).route.tenant_id

    async def lines() -> AsyncIterator[str]:
        while True:
            async with road.enter(tenant_id) as session:
                found = (await session.execute(text("SELECT tenancy.current_tenant()"))).scalar_one()
            yield f"{found}\n"
            await asyncio.sleep(0.05)

    return StreamingResponse(lines())


@app.get("/api/silence")
async def silence(request: Request) -> StreamingResponse:
    """One line, and then nothing: it asks no home, which could refuse it."""
    tenant_id = visitor_of(request).route.tenant_id

    async def lines() -> AsyncIterator[str]:
        yield f"{tenant_id}\n"
        await asyncio.Event().wait()

    return StreamingResponse(lines())


@app.get("/api/held")
async def held(request: Request) -> str:
    """Disables everybody in a transaction that it holds for as long as it may."""
    road: Road = request.app.state.road
    async with road.enter(visitor_of(request).route.tenant_id) as session:
        await session.execute(text("UPDATE users SET disabled_at = now()"))
        while True:
            await session.execute(text("SELECT pg_sleep(1)"))


@dataclass(frozen=True, kw_only=True)
class Lasting(Inbox):
    """The inbox, and these."""

    def create_asgi(self, road: Road) -> ASGIApp:
        """The app over `road`."""
        app.state.road = road
        install_errors(app)
        app.mount("/", super().create_asgi(road))
        return app


lasting = Lasting()
