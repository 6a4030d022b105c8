"""The inbox's own handler without the road, to hold the road against: one engine on one database, no tenancy of any kind.

Run as a process: `python -m benchmarks.hardwired PORT SOCKET_FOLDER POOLER_PORT DATABASE`.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from uuid import UUID

import uvicorn
from fastapi import FastAPI
from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from control_plane.domain.route import ApiKey, Role, Route
from control_plane.domain.tenant import Model, Plan, Status
from control_plane.routing.visitor import Visitor, tenant_session, visitor
from tenant_app.messages.endpoints import router

NOBODY = UUID(int=0)


def app_on(sockets: str, port: int, database: str) -> FastAPI:
    """The messages routes over an ordinary pooled engine."""
    url = URL.create(
        "postgresql+psycopg", username=database, database=database, query={"host": sockets, "port": str(port)}
    )
    engine = create_async_engine(url, pool_size=100, connect_args={"prepare_threshold": None})
    key = ApiKey(id=NOBODY, name="bench", role=Role.OWNER, scopes=(), secret_sha256="")
    route = Route(
        tenant_id=NOBODY,
        slug="bench",
        name="bench",
        plan=Plan.STARTER,
        model=Model.SILO,
        status=Status.ACTIVE,
        epoch=1,
        revision=None,
        home=None,
    )

    async def anybody() -> Visitor:
        return Visitor(route=route, key=key)

    async def session() -> AsyncIterator[AsyncSession]:
        async with AsyncSession(engine, expire_on_commit=False) as plain:
            yield plain
            await plain.commit()

    app = FastAPI()
    app.include_router(router)
    app.dependency_overrides |= {visitor: anybody, tenant_session: session}
    return app


if __name__ == "__main__":
    http_port, sockets, pooler_port, database = sys.argv[1:]
    uvicorn.run(app_on(sockets, int(pooler_port), database), port=int(http_port), access_log=False, log_level="warning")
