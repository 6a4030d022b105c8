"""The steps by which one login of a database takes the other's place, while requests go on.

The roll has both for as long as that takes (`next_login`), so that every step knows which is which however often it is
repeated: `login` is what is used, `next_login` what is to be used, and the other of the two goes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

import psycopg
from psycopg.conninfo import make_conninfo

from control_plane import audit
from control_plane.domain import names
from control_plane.domain.errors import UnavailableError
from control_plane.domain.server import Server
from control_plane.registry import fleet, processes, routes, servers
from control_plane.registry.engine import transaction
from control_plane.registry.servers import READY
from control_plane.registry.tables import DatabaseRow
from provisioning import logins
from provisioning.databases import Builder
from provisioning.estate import Estate
from provisioning.providers import access
from provisioning.repair.dropping import drop_role

ACTOR = "worker"
FOLLOW_S = 45.0
"""Longer than any request may hold its transaction."""
POLL_S = 0.2
LET_IN_S = 5.0
"""A server reads its access rules anew a moment after it is told to."""

EstateStep = Callable[[Estate, UUID], None]


class OldLoginInUseError(UnavailableError):
    """The old login is still used."""

    code = "login_in_use"


@dataclass(frozen=True, kw_only=True)
class _Change:
    """One login on its way to another's place."""

    database: DatabaseRow
    server: Server
    builder: Builder
    new: str

    @property
    def old(self) -> str:
        return names.other_login(self.database.name, self.new)


def make_other_login(estate: Estate, database_id: UUID) -> None:
    """Make the other login, with a password of its own where the first has one, and let it at all the first may do."""
    if (change := _change(estate, database_id)) is None:
        return
    if change.new != change.database.login and (change.server.by_tcp or change.database.sealed_password is not None):
        logins.give_next_password(estate, change.server, database_id, change.new)
    with transaction(estate.engine) as session:
        fleet.keep_still(session)
        change.builder.admit(change.database.name, change.new)
    access.let_in(change.server, change.builder.admin, change.database.name, change.new)
    _refuse_unless_let_in(estate, change)


def enter_both(estate: Estate, database_id: UUID) -> None:
    """Have the pooler take either login, and try the other one through it."""
    if (change := _change(estate, database_id)) is None:
        return
    estate.pooler.apply()
    _enter(_through_the_pooler(estate, change))


def switch_login(estate: Estate, database_id: UUID) -> None:
    """Have routes lead in by the other login from now on."""
    if (change := _change(estate, database_id)) is None or change.database.login == change.new:
        return
    with transaction(estate.engine) as session:
        row = servers.database(session, database_id, lock=True)
        # What is swapped in is forgotten at the end: it is of the login that goes.
        row.login = change.new
        row.sealed_password, row.next_sealed_password = row.next_sealed_password, row.sealed_password


def await_followers(estate: Estate, database_id: UUID) -> None:
    """Wait until every process that serves has the new routes, and whoever came in by the old ones is done.

    OldLoginInUseError, saying by whom, when that takes longer than FOLLOW_S.
    """
    if (change := _change(estate, database_id)) is None:
        return
    with transaction(estate.engine) as session:
        version = routes.version(session)
    deadline = time.monotonic() + FOLLOW_S
    while (why := _still_used(estate, change, version)) is not None:
        if time.monotonic() > deadline:
            raise OldLoginInUseError(f"{change.old} is still used: {why}")
        time.sleep(POLL_S)


def drop_old_login(estate: Estate, database_id: UUID) -> None:
    """Take the old login away, whoever is still in by it: from now on PostgreSQL knows it no more."""
    if (change := _change(estate, database_id)) is None:
        return
    with transaction(estate.engine) as session:
        fleet.keep_still(session)
        change.builder.retire(change.database.name, change.old)
        drop_role(estate, change.server, change.old, with_belongings=False)
    access.shut_out(change.server, change.builder.admin, change.database.name, change.old)


def forget_old_login(estate: Estate, database_id: UUID) -> None:
    """Have roll and pooler know the one login alone."""
    if _change(estate, database_id) is not None:
        with transaction(estate.engine) as session:
            row = servers.database(session, database_id, lock=True)
            if row.next_sealed_password is not None:
                estate.secrets.forget(row.next_sealed_password)
            row.next_login = row.next_sealed_password = None
            audit.record(session, ACTOR, "login.rotated", row.name, login=row.login)
    estate.pooler.apply()


STEPS: tuple[EstateStep, ...] = (
    make_other_login,
    enter_both,
    switch_login,
    await_followers,
    drop_old_login,
    forget_old_login,
)


def _change(estate: Estate, database_id: UUID) -> _Change | None:
    """What there is to do; None when it is done, or the database is about to be dropped."""
    with transaction(estate.engine) as session:
        row = servers.database(session, database_id)
        server = servers.server_named(session, row.server)
    if row.next_login is None or row.state != READY:
        return None
    return _Change(database=row, server=server, builder=estate.builder(server), new=row.next_login)


def _refuse_unless_let_in(estate: Estate, change: _Change) -> None:
    deadline = time.monotonic() + LET_IN_S
    while time.monotonic() < deadline:
        with suppress(psycopg.OperationalError):
            _enter(_past_the_pooler(estate, change))
            return
        time.sleep(POLL_S)
    _enter(_past_the_pooler(estate, change))


def _past_the_pooler(estate: Estate, change: _Change) -> str:
    return estate.doors.dsn(change.server, change.database.name, change.new, _password(estate, change))


def _through_the_pooler(estate: Estate, change: _Change) -> str:
    return make_conninfo(
        host=estate.settings.pooler_host,
        port=estate.settings.pooler_port,
        dbname=change.database.alias,
        user=change.new,
        password=_password(estate, change),
        connect_timeout=5,
    )


def _password(estate: Estate, change: _Change) -> str | None:
    """Of the login that comes."""
    with transaction(estate.engine) as session:
        row = servers.database(session, change.database.id)
        sealed = row.sealed_password if row.login == change.new else row.next_sealed_password
    return estate.secrets.open(sealed, change.database.id) if sealed else None


def _enter(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as connection:
        connection.execute("SELECT 1")


def _still_used(estate: Estate, change: _Change, version: int) -> str | None:
    with transaction(estate.engine) as session:
        behind = processes.behind(session, version)
    if behind:
        return f"{', '.join(f'{row.kind} {row.place}' for row in behind)} has not followed"
    at_work = estate.pooler.at_work(change.database.alias, change.old)
    return f"{at_work} at work at the pooler" if at_work else None
