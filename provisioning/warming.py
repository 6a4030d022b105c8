"""Keeping finished silos ready: a tenant who gets one waits for no copy, no key and no pooler."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from uuid import UUID

from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from control_plane.domain.server import Server, ServerStatus
from control_plane.registry import servers, warm
from control_plane.registry.engine import session_of_its_own, transaction
from control_plane.registry.servers import WARM
from control_plane.registry.tables import DatabaseRow
from control_plane.registry.workflows import Workflows
from provisioning import logins, silos
from provisioning.estate import Estate

_Choose = Callable[[Session, str], DatabaseRow | None]
_LOCKS_OF_SERVERS = 45
"""Keeps these advisory locks apart from those of other uses."""


def replenish(estate: Estate, subject: UUID) -> None:
    """Make what a server's warm silos lack and drop those that are too many; returns at once while another does.

    The other looks once more after it is done, and so sees what was asked for meanwhile.
    """
    with transaction(estate.engine) as session:
        name = warm.server_of(session, subject)
    while name is not None and not _right(estate, name):
        with _alone(estate.engine, name) as alone:
            if not alone:
                return
            _see_to(estate, name)


def begin_all(engine: Engine, workflows: Workflows, actor: str) -> None:
    """Have every server's warm silos seen to."""
    with transaction(engine) as session:
        for server in servers.all_servers(session):
            warm.replenish(session, workflows, server.name, actor)


def _right(estate: Estate, name: str) -> bool:
    with transaction(estate.engine) as session:
        return warm.stock(session, name).right


def _see_to(estate: Estate, name: str) -> None:
    while (found := _next(estate, name, warm.next_to_drop)) is not None:
        _drop(estate, *found)
    while (found := _next(estate, name, warm.next_to_build)) is not None:
        _make(estate, *found)


def _next(estate: Estate, name: str, choose: _Choose) -> tuple[Server, DatabaseRow] | None:
    with transaction(estate.engine) as session:
        server, database = servers.server_named(session, name), choose(session, name)
    return (server, database) if database is not None else None


def _make(estate: Estate, server: Server, database: DatabaseRow) -> None:
    silos.at_wanted(estate, partial(silos.make, estate, server, database, WARM))


def _drop(estate: Estate, server: Server, database: DatabaseRow) -> None:
    """Nobody has ever lived there. The pooler first: it holds connections."""
    estate.pooler.apply()
    if server.status is not ServerStatus.LOST:
        estate.builder(server).drop_silo(database.name)
    with transaction(estate.engine) as session:
        logins.bury(estate, servers.database(session, database.id))


@contextmanager
def _alone(engine: Engine, name: str) -> Iterator[bool]:
    """Whether nobody else sees to that server's; the lock ends with its connection, and so with a killed process."""
    with session_of_its_own(engine) as connection:
        key = func.hashtextextended(name, _LOCKS_OF_SERVERS)
        yield bool(connection.scalar(select(func.pg_try_advisory_lock(key))))
