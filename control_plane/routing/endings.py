"""How visits end: is there still something to commit, and how a connection comes back whatever happened to it."""

from __future__ import annotations

import asyncio
import contextlib

from psycopg.pq import TransactionStatus
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from control_plane.routing.connections import LentConnection
from control_plane.routing.refusals import BrokenTransactionError, HomeDownError


def refuse_unless_whole(session: AsyncSession, connection: AsyncConnection) -> None:
    """BrokenTransactionError or HomeDownError where a commit would keep nothing.

    COMMIT says nothing when all it does is roll back, or when somebody has ended the transaction before.
    """
    if connection.invalidated:
        raise HomeDownError
    if session.in_transaction() and not connection.closed and connection.sync_connection is not None:
        driver = connection.sync_connection.connection.driver_connection
        assert isinstance(driver, LentConnection)
        if driver.pgconn.transaction_status not in (TransactionStatus.INTRANS, TransactionStatus.UNKNOWN):
            raise BrokenTransactionError


async def commit(session: AsyncSession) -> None:
    """Commit, and tell how that ended. Whoever is cancelled meanwhile is told as well, and goes on.

    A COMMIT that was sent cannot be called back: who gave up waiting for it would tell that nothing was kept. How long
    it may take, the pooler bounds as it does a statement's time.
    """
    ending = asyncio.ensure_future(session.commit())
    while not ending.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(ending)
    ending.result()


async def leave(session: AsyncSession, connection: AsyncConnection) -> None:
    """Roll back, if there is anything to, and give the connection back. Never raises a driver's error."""
    # A rollback that fails ends with its connection; it is not what the caller has to hear of.
    with contextlib.suppress(DBAPIError):
        await session.close()
    await close(connection)


async def close(connection: AsyncConnection) -> None:
    """Give the connection back, its transaction rolled back if it goes on."""
    try:
        await connection.close()
    except DBAPIError:
        # Its rollback failed, so that it has not gone back. Now there is nothing to roll back, and it does.
        await connection.close()
