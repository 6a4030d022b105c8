"""Building pools and bridges: databases that many tenants share."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from control_plane.domain.names import SHARED_SCHEMA
from control_plane.domain.server import Server
from control_plane.domain.tenant import Model
from control_plane.registry import fleet, servers, tenants
from control_plane.registry.engine import session_of_its_own, transaction
from control_plane.registry.fleet import Revisions
from control_plane.registry.servers import READY
from control_plane.registry.tables import DatabaseRow
from provisioning import catalogues, logins, silos
from provisioning.estate import Estate
from provisioning.silos import Enter

_LOCKS_OF_DATABASES = 46
"""Keeps these advisory locks apart from those of other uses."""


def build(estate: Estate, database_id: UUID, *, tell_pooler: bool = True) -> None:
    """Make all of a pool or bridge that is on the roll: database, login, chains, key; a finished one is left alone.

    Of several who build the same one the others wait, for as long as a statement of the control database may take.
    Without a running pooler it is told later, when it starts. OpenCatalogueError, before anything is made, where
    tenants may not share one.
    """
    server, database = _found(estate, database_id)
    if _whole(database):
        return
    with session_of_its_own(estate.engine) as connection:
        connection.execute(select(func.pg_advisory_lock(func.hashtextextended(str(database_id), _LOCKS_OF_DATABASES))))
        server, database = _found(estate, database_id)
        if not _whole(database):
            silos.at_wanted(estate, lambda wanted: _made(estate, server, database, wanted, tell_pooler=tell_pooler))


def _made(estate: Estate, server: Server, database: DatabaseRow, wanted: Revisions, *, tell_pooler: bool) -> Enter:
    catalogues.refuse_open(estate, server)
    builder = estate.builder(server)
    builder.build_shared(database.name, wanted, with_tables=database.model == Model.POOL)
    builder.install_key(database.name, estate.keyring.context_key(database.id))
    logins.give_password(estate, server, database.id)
    if tell_pooler:
        estate.pooler.apply()

    def enter(session: Session) -> None:
        if database.model == Model.POOL:
            tenants.ensure_target(session, database.id, SHARED_SCHEMA, wanted.tenant)
        fleet.set_home_revision(session, database.id, wanted.home)
        servers.database(session, database.id).state = READY

    return enter


def _found(estate: Estate, database_id: UUID) -> tuple[Server, DatabaseRow]:
    with transaction(estate.engine) as session:
        database = servers.database(session, database_id)
        return servers.server_named(session, database.server), database


def _whole(database: DatabaseRow) -> bool:
    return database.state == READY and database.home_revision is not None
