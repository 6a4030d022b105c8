"""The layers that keep tenants apart, each one to be taken off and put back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch
from uuid import UUID

import psycopg
from psycopg import sql
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import Session

from control_plane.routing import road, scope, tokens, visitor
from control_plane.routing.scope import TenantScoped, TenantSession
from tests.isolation.world import TABLES

Admin = psycopg.Connection[Any]
"""A superuser's connection to a home, its schema on the search path."""
ENTER = re.compile(r",?\s*tenancy\.enter\('[^']*'\)")


@contextmanager
def orm(*, criteria: bool, default: bool) -> Iterator[None]:
    """In this process, the ORM says whose rows it means, and gives new rows their tenant, or leaves either out."""
    with (
        _listening("do_orm_execute", scope._add_criteria, criteria),
        _listening("before_flush", scope._fill_in_tenant, default),
    ):
        yield


@contextmanager
def orm_giving_rows_to(tenant: UUID) -> Iterator[None]:
    """In this process, the ORM gives every new row to that tenant."""

    def give(session: Session, *_rest: object) -> None:
        for row in session.new:
            assert isinstance(row, TenantScoped)
            row.tenant_id = tenant

    with _listening("before_flush", scope._fill_in_tenant, False), _listening("before_flush", give, True):
        yield


@contextmanager
def no_guard() -> Iterator[None]:
    """In this process, homes are not looked at before they serve."""

    async def trusting(_connection: AsyncConnection, _schema: str) -> None:
        return

    with patch.object(road, "check_home", trusting):
        yield


@contextmanager
def no_row_security(home: Admin, *tables: str) -> Iterator[None]:
    """Those tables of the home, or all, show every row to whoever may read them at all."""
    enabled = [table for table in tables or TABLES if _has_row_security(home, table)]
    for table in enabled:
        home.execute(sql.SQL("ALTER TABLE {} DISABLE ROW LEVEL SECURITY").format(sql.Identifier(table)))
    try:
        yield
    finally:
        for table in enabled:
            home.execute(sql.SQL("ALTER TABLE {} ENABLE ROW LEVEL SECURITY").format(sql.Identifier(table)))


@contextmanager
def no_enter() -> Iterator[None]:
    """In this process, visits begin without tenancy.enter."""

    genuine = road.begin_message

    def begin(*arguments: Any) -> str:
        whole = genuine(*arguments)
        without = ENTER.sub("", whole)
        assert without != whole
        return without

    with patch.object(road, "begin_message", begin):
        yield


@contextmanager
def tokens_for(tenant: UUID) -> Iterator[None]:
    """In this process, every visit is let in as that tenant, whoever it is for."""
    genuine = tokens.minted

    def minted(keyring: Any, home: Any, _tenant: UUID, *rest: Any, **named: Any) -> str:
        return genuine(keyring, home, tenant, *rest, **named)

    with patch.object(tokens, "minted", minted):
        yield


@contextmanager
def keys_good_at_any_host() -> Iterator[None]:
    """In this process, nobody compares the tenant of a key with the host's."""
    genuine = visitor._with_key
    with patch.object(visitor, "_with_key", lambda road, _slug, shown: genuine(road, None, shown)):
        yield


@contextmanager
def changed(home: Admin, do: str, undo: str) -> Iterator[None]:
    """The home after a statement, until it is undone."""
    home.execute(do)
    try:
        yield
    finally:
        home.execute(undo)


def _has_row_security(home: Admin, table: str) -> bool:
    found = home.execute("SELECT relrowsecurity FROM pg_class WHERE oid = to_regclass(%s)", [table]).fetchone()
    assert found is not None
    return bool(found[0])


@contextmanager
def _listening(name: str, listener: Callable[..., None], wanted: bool) -> Iterator[None]:
    was = event.contains(TenantSession, name, listener)
    _listen(name, listener, wanted)
    try:
        yield
    finally:
        _listen(name, listener, was)


def _listen(name: str, listener: Callable[..., None], wanted: bool) -> None:
    there = event.contains(TenantSession, name, listener)
    if wanted and not there:
        event.listen(TenantSession, name, listener)
    elif there and not wanted:
        event.remove(TenantSession, name, listener)
