"""Writing rows: what a broken constraint means to the caller, and rows that may be there already."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import cast

import psycopg
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.domain.errors import CopyholdError, UnavailableError
from control_plane.routing.scope import TenantScoped, TenantSession
from tenant_app.recording import was_wrong

NOTHING: Mapping[str, type[CopyholdError]] = MappingProxyType({})


class RowGoneError(UnavailableError):
    """Something that this refers to is not there any more; try again."""

    code = "row_gone"


async def flush(session: AsyncSession, broken: Mapping[str, type[CopyholdError]] = NOTHING) -> None:
    """Send pending changes; a broken constraint named in `broken` becomes that error. The transaction is lost then.

    RowGoneError when the caller's own row was thought to be there, and is not: this process writes it the next time.
    """
    try:
        await session.flush()
    except IntegrityError as error:
        constraint = cast(psycopg.Error, error.orig).diag.constraint_name or ""
        if constraint in broken:
            raise broken[constraint] from error
        if isinstance(error.orig, psycopg.errors.ForeignKeyViolation) and was_wrong(session):
            raise RowGoneError from error
        raise


async def insert_once(session: AsyncSession, table: type[TenantScoped], **values: object) -> None:
    """Insert a row unless the tenant has one of that id, which is then left as it is."""
    tenant_id = cast(TenantSession, session.sync_session).tenant_id
    statement = insert(table).values(tenant_id=tenant_id, **values)
    await session.execute(statement.on_conflict_do_nothing(index_elements=["tenant_id", "id"]))
