"""Places for homes: choosing a database for one, and making what it asks for. Every function may be repeated."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from uuid import UUID

from sqlalchemy.orm import Session

from control_plane.domain import names
from control_plane.domain.server import Server, ServerStatus
from control_plane.domain.tenant import Model
from control_plane.registry import fleet, placing, servers, tenants, warm
from control_plane.registry.fleet import Revisions
from control_plane.registry.servers import BUILDING, READY
from control_plane.registry.tables import DatabaseRow, HomeRow
from control_plane.registry.warm import REPLENISH_AFTER_S
from control_plane.registry.workflows import Workflows
from provisioning import shared, silos
from provisioning.estate import Estate
from provisioning.silos import Enter

ACTOR = "worker"


@dataclass(frozen=True, kw_only=True)
class Place:
    """A home and where it is."""

    home: HomeRow
    database: DatabaseRow
    server: Server

    @property
    def to_be_made(self) -> bool:
        """Whether it is a silo that is not all there: one that was kept ready is."""
        return self.home.model == Model.SILO and self.database.state == BUILDING

    @property
    def is_lost(self) -> bool:
        """Whether nobody will ever come there again."""
        return self.server.status is ServerStatus.LOST


def place_of(session: Session, home: HomeRow) -> Place:
    """Where that home is."""
    database = servers.database(session, home.database_id)
    return Place(home=home, database=database, server=servers.server_named(session, database.server))


def schema_for(tenant_id: UUID, model: Model) -> str:
    """Where a tenant's tables are in a home of that model."""
    return names.bridge_schema(tenant_id) if model is Model.BRIDGE else names.SHARED_SCHEMA


def database_for(estate: Estate, workflows: Workflows, session: Session, server: Server, model: Model) -> DatabaseRow:
    """A database there for one more tenant, entered on the roll when the caller commits. It may still be to be made.

    Whoever calls this holds the servers.
    """
    if model is Model.SILO:
        claimed = warm.claim(session, server.name, fleet.wanted(session, hold=True))
        session.flush()
        warm.replenish(session, workflows, server.name, ACTOR, after_s=REPLENISH_AFTER_S)
        return claimed or servers.add_silo(session, server.name)
    with_room = placing.database_with_room(session, server.name, model, estate.settings.limits.full_at)
    return with_room or placing.add_shared(session, server.name, model)


def build(estate: Estate, place: Place) -> None:
    """Make the database or schema, as far as the model asks for one of its own; there is no fence in it yet."""
    if place.home.model != Model.SILO and place.database.state == BUILDING:
        shared.build(estate, place.database.id)
    if place.home.model == Model.BRIDGE:
        silos.at_wanted(estate, partial(_build_schema, estate, place))
    elif place.to_be_made:
        silos.at_wanted(estate, partial(silos.make, estate, place.server, place.database, READY))


def _build_schema(estate: Estate, place: Place, wanted: Revisions) -> Enter:
    estate.builder(place.server).build_schema(place.database.name, place.home.schema, wanted.tenant)
    return lambda session: tenants.ensure_target(session, place.database.id, place.home.schema, wanted.tenant)
