"""Making homes at the revisions that are wanted, and silo databases. Every function may be repeated."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy.orm import Session

from control_plane.domain.names import SHARED_SCHEMA
from control_plane.domain.server import Server
from control_plane.registry import fleet, servers, tenants
from control_plane.registry.engine import transaction
from control_plane.registry.fleet import Revisions
from control_plane.registry.tables import DatabaseRow
from provisioning import logins
from provisioning.estate import Estate

Enter = Callable[[Session], None]
"""Enters what was built on the roll, in the caller's transaction."""


def at_wanted(estate: Estate, build: Callable[[Revisions], Enter]) -> None:
    """Build at the revisions wanted and enter it, again if more is wanted by then.

    A migration of the fleet sees what was entered, or is seen here.
    """
    while True:
        with transaction(estate.engine) as session:
            wanted = fleet.wanted(session)
        enter = build(wanted)
        with transaction(estate.engine) as session:
            if fleet.wanted(session, hold=True) == wanted:
                enter(session)
                return


def make(estate: Estate, server: Server, database: DatabaseRow, state: str, wanted: Revisions) -> Enter:
    """All of a silo: the copy with its login, the key that no template holds, its place in the pooler. What is returned
    enters it in that state.
    """
    estate.builder(server).copy_silo(database.name, wanted, estate.keyring.context_key(database.id))
    logins.give_password(estate, server, database.id)
    estate.pooler.apply()

    def enter(session: Session) -> None:
        fleet.set_home_revision(session, database.id, wanted.home)
        tenants.ensure_target(session, database.id, SHARED_SCHEMA, wanted.tenant)
        servers.database(session, database.id).state = state

    return enter
