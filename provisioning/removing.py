"""What the steps do by which a server leaves the platform. Every function may be repeated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from uuid import UUID

import psycopg
from psycopg import sql
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from control_plane import audit
from control_plane.domain.errors import UnavailableError
from control_plane.domain.names import template_database
from control_plane.domain.server import Server, ServerStatus
from control_plane.registry import fleet, servers, warm
from control_plane.registry.engine import transaction
from control_plane.registry.servers import GOING, GONE
from control_plane.registry.tables import DatabaseRow, TargetRow
from control_plane.tenants import joining
from migrations.fleet.chains import HOME, Chain
from provisioning import logins
from provisioning.databases import BUILDING, TRIAL
from provisioning.estate import Estate
from provisioning.providers.existing.facts import PLATFORM_ROLES
from provisioning.roles import Connection, role_exists

ACTOR = "worker"


class ServerSilentError(UnavailableError):
    """The server does not answer."""

    code = "server_silent"


def empty_server(estate: Estate, subject: UUID) -> None:
    """Have nobody look for its databases any more: neither the fleet nor the pooler. Refused while tenants live there.

    FleetBusyError while a run over the fleet goes on, which would miss them.
    """
    with transaction(estate.engine) as session:
        server = _leaving(session, subject)
        if server is None:
            return
        joining.check_may_leave(session, server.name)
        if rows := _there(session, server.name):
            fleet.keep_still(session)
        for row in rows:
            row.state, row.home_revision = GOING, None
            session.execute(delete(TargetRow).where(TargetRow.database_id == row.id))
    estate.pooler.apply()


def drop_all(estate: Estate, subject: UUID) -> None:
    """Drop its databases with their logins, then templates. ServerSilentError when it does not answer.

    Of a server that is lost, or goes as a whole, nothing is dropped.
    """
    with transaction(estate.engine) as session:
        server = _leaving(session, subject)
        if server is None:
            return
        rows = _there(session, server.name)
    if not _goes_whole(server):
        _drop(estate, server, [row.name for row in rows])
    with transaction(estate.engine) as session:
        for row in _there(session, server.name):
            logins.bury(estate, row)


def drop_roles(estate: Estate, subject: UUID) -> None:
    """Drop the platform's own roles, as far as its administrator may."""
    with transaction(estate.engine) as session:
        server = _leaving(session, subject)
    if server is None or _goes_whole(server) or not _was_entered(server):
        return
    with estate.builder(server).admin() as admin:
        for role in reversed(PLATFORM_ROLES):
            if role_exists(admin, role):
                _drop_role(admin, role)


def strike_server(estate: Estate, subject: UUID) -> None:
    """Let its provider end it, where that has made it, and strike it off the roll. What is left there is on record."""
    with transaction(estate.engine) as session:
        server = _leaving(session, subject)
    if server is None:
        return
    left = [] if _goes_whole(server) or not _was_entered(server) else _left(estate, server)
    GOING_AWAY[server.provider](estate, server)
    with transaction(estate.engine) as session:
        servers.delete_server(session, server.name)
        audit.record(session, ACTOR, "server.removed", server.name, left=left)


def not_removed(estate: Estate, subject: UUID, reason: str) -> None:
    """Record why the server is still on the roll."""
    with transaction(estate.engine) as session:
        if (server := _leaving(session, subject)) is not None:
            servers.server_row(session, server.name).failure = reason


def templates(chain: Chain) -> list[str]:
    """The names of all templates that this platform may have made on a server, half-made ones included."""
    made = [template_database(f"{home}_{tenant}") for home in HOME.revisions for tenant in chain.revisions]
    return [*made, *(BUILDING + name for name in made), TRIAL]


def _leaving(session: Session, subject: UUID) -> Server | None:
    name = warm.server_of(session, subject)
    server = servers.server_named(session, name) if name is not None else None
    return server if server and server.status in (ServerStatus.REMOVING, ServerStatus.LOST) else None


def _there(session: Session, server: str) -> list[DatabaseRow]:
    return list(session.scalars(select(DatabaseRow).where(DatabaseRow.server == server, DatabaseRow.state != GONE)))


def _goes_whole(server: Server) -> bool:
    """Whether nothing has to be dropped there one by one: it is lost, or an instance that goes with all it has."""
    return server.status is ServerStatus.LOST or server.provider == joining.RDS


def _was_entered(server: Server) -> bool:
    """Whether the administrator's password is known: without one nothing can have been made there."""
    return server.sealed_passwords is not None


def _drop(estate: Estate, server: Server, databases: Iterable[str]) -> None:
    if not _was_entered(server):
        return
    builder = estate.builder(server)
    try:
        for name in databases:
            builder.drop_silo(name)
        with builder.admin() as admin:
            _drop_templates(admin, templates(estate.chain))
    except psycopg.OperationalError as error:
        raise ServerSilentError(
            f"{server.name} does not let us in: once it does, `copyhold server remove {server.name}` goes on; if it is "
            f"gone for good, `copyhold server lost {server.name} --yes` first"
        ) from error


def _drop_templates(admin: Connection, names: list[str]) -> None:
    found = admin.execute("SELECT datname, datistemplate FROM pg_database WHERE datname = ANY (%s)", [names])
    for name, is_template in found.fetchall():
        if is_template:
            admin.execute(sql.SQL("ALTER DATABASE {} IS_TEMPLATE false").format(sql.Identifier(name)))
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _drop_role(admin: Connection, role: str) -> None:
    """One that is kept by something, or that is not the administrator's to drop, is left."""
    name = sql.Identifier(role)
    with suppress(psycopg.Error):
        admin.execute(sql.SQL("REVOKE SET ON PARAMETER session_replication_role FROM {}").format(name))
    with suppress(psycopg.errors.InsufficientPrivilege, psycopg.errors.DependentObjectsStillExist):
        admin.execute(sql.SQL("DROP ROLE {}").format(name))


def _left(estate: Estate, server: Server) -> list[str]:
    with estate.builder(server).admin() as admin:
        return [role for role in PLATFORM_ROLES if role_exists(admin, role)]


def _stays(_estate: Estate, _server: Server) -> None:
    """Others run it, and go on doing so."""


def _has_gone(_estate: Estate, _server: Server) -> None:
    """The step before has ended it, or it is lost."""


GOING_AWAY: Mapping[str, Callable[[Estate, Server], None]] = {"existing": _stays, joining.RDS: _has_gone}
"""By provider, how a server ends when nothing of the platform is on it any more."""
