"""The inbox's own handler without the road, to hold the road against: one engine, one database, no tenancy at all.

Run as a process: `python -m benchmarks.hardwired PORT SOCKET_FOLDER POOLER_PORT DATABASE`.
"""

# Annotations are not postponed here: FastAPI could not see the local dependency in them.
import sys
from collections.abc import AsyncIterator
from typing import Annotated

import uvicorn
from fastapi import Depends, FastAPI
from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from tenant_app.inputs import PathId
from tenant_app.messages import service
from tenant_app.messages.schemas import MessageOut, Order
from tenant_app.pages import Page, ThePaging


def app_on(sockets: str, port: int, database: str) -> FastAPI:
    """The list of messages over an ordinary pooled engine."""
    query = {"host": sockets, "port": str(port)}
    url = URL.create("postgresql+psycopg", username=database, database=database, query=query)
    engine = create_async_engine(url, pool_size=100, connect_args={"prepare_threshold": None})

    async def session() -> AsyncIterator[AsyncSession]:
        async with AsyncSession(engine, expire_on_commit=False) as plain:
            yield plain
            await plain.commit()

    app = FastAPI()

    # Not the inbox's router with other dependencies put in: FastAPI takes those apart anew at each request.
    @app.get("/api/conversations/{conversation_id}/messages")
    async def list_messages(
        session: Annotated[AsyncSession, Depends(session, scope="function")],
        conversation_id: PathId,
        paging: ThePaging,
        order: Order = Order.OLDEST,
    ) -> Page[MessageOut]:
        """What was said in a conversation."""
        return await service.list_in(session, conversation_id, order, paging)

    return app


if __name__ == "__main__":
    http_port, sockets, pooler_port, database = sys.argv[1:]
    uvicorn.run(app_on(sockets, int(pooler_port), database), port=int(http_port), access_log=False, log_level="warning")
