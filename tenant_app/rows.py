"""Writing rows: what a broken constraint means to the caller, and rows that may be there already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import psycopg
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.domain.errors import CopyholdError
from control_plane.routing.scope import TenantScoped, TenantSession


async def flush(session: AsyncSession, broken: Mapping[str, type[CopyholdError]]) -> None:
    """Send pending changes; a broken constraint named in `broken` becomes that error. The transaction is lost then."""
    try:
        await session.flush()
    except IntegrityError as error:
        constraint = cast(psycopg.Error, error.orig).diag.constraint_name or ""
        if constraint in broken:
            raise broken[constraint] from error
        raise


async def insert_once(session: AsyncSession, table: type[TenantScoped], **values: object) -> None:
    """Insert a row unless the tenant has one of that id, which is then left as it is."""
    tenant_id = cast(TenantSession, session.sync_session).tenant_id
    statement = insert(table).values(tenant_id=tenant_id, **values)
    await session.execute(statement.on_conflict_do_nothing(index_elements=["tenant_id", "id"]))
