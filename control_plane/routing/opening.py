"""Sending what opens a transaction, on the connection that SQLAlchemy has just begun one on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

from sqlalchemy import AdaptedConnection, Connection

from control_plane.routing.connections import LentConnection

BEGIN = "copyhold_begin"
"""The execution option that holds what makes the opening."""
Opening = str | list[tuple[str, list[str]]]
"""One simple query, or statements with their values that are sent together."""


def send_opening(connection: Connection) -> None:
    """Send it, as one message in either form; a driver's errors leave it as they are."""
    make: Callable[[], Opening] = connection.get_execution_options()[BEGIN]
    if not isinstance(opening := make(), str):
        lent = cast(AdaptedConnection, connection.connection.dbapi_connection)
        lent.run_async(partial(_send_together, opening))
        return
    cursor = connection.connection.cursor()
    try:
        cursor.execute(opening)
    finally:
        cursor.close()


async def _send_together(statements: list[tuple[str, list[str]]], connection: LentConnection) -> None:
    async with connection.pipeline():
        for statement, values in statements:
            await connection.execute(statement, values)
