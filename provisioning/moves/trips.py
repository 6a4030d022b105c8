"""A move as provisioning sees it: from where to where, and how the road would lead to each of its ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from uuid import UUID

from sqlalchemy.orm import Session

from control_plane.domain.errors import ConflictError
from control_plane.domain.moving import Phase, Recipe
from control_plane.domain.route import Home, Route
from control_plane.domain.tenant import Model, Status
from control_plane.registry import moves, routes, tenants
from control_plane.registry.engine import transaction
from control_plane.registry.moves import Held
from control_plane.registry.tables import HomeRow, MoveRow
from provisioning import building, sessions
from provisioning.building import Place
from provisioning.estate import Estate
from provisioning.moves import places
from provisioning.moves.fences import FROZEN, OPEN, SUSPENDED
from provisioning.roles import MOVER


class CancelledError(ConflictError):
    """The move was cancelled."""

    code = "move_cancelled"


@dataclass(frozen=True, kw_only=True)
class Trip:
    """One tenant's move as the roll had it at one moment."""

    id: UUID
    tenant_id: UUID
    slug: str
    phase: Phase
    epoch: int
    """Of the route now."""
    route: Route
    source: Place
    target: Place | None
    window_s: int
    recipe: Recipe

    @property
    def chosen(self) -> Place:
        """The home to be; only asked for once it is chosen."""
        assert self.target is not None
        return self.target

    @property
    def is_suspended(self) -> bool:
        """Whether nobody is served by either home, now or when it has arrived. Stays so for as long as it moves."""
        return self.route.status is Status.SUSPENDED

    @property
    def held(self) -> str:
        """How both fences stand while it is switched."""
        return SUSPENDED if self.is_suspended else FROZEN

    @property
    def arrived(self) -> str:
        """How the fence of the home that it has arrived in stands."""
        return SUSPENDED if self.is_suspended else OPEN

    def route_to(self, place: Place, epoch: int) -> Route:
        """How the road would lead to that end at that epoch."""
        home = Home(
            database_id=place.database.id,
            alias=place.database.alias,
            database=place.database.name,
            login=place.database.login,
            schema=place.home.schema,
            sealed_password=place.database.sealed_password,
        )
        return replace(self.route, model=Model(place.home.model), epoch=epoch, home=home)


def read(session: Session, move_id: UUID) -> Trip:
    """The move as the roll has it."""
    return _trip(session, moves.get(session, move_id))


def read_locked(session: Session, move_id: UUID) -> tuple[MoveRow, Trip]:
    """The same with its row, tenant and row locked in the order in which everybody locks them."""
    row = moves.get(session, move_id)
    tenants.get(session, row.tenant_id, lock=True)
    row = moves.get(session, move_id, lock=True)
    return row, _trip(session, row)


@contextmanager
def holding_trip(estate: Estate, move_id: UUID) -> Iterator[tuple[Held, Trip]]:
    """Be the one who works on that move; the lock, and the move as it is under it. MoveBusyError while another is."""
    with transaction(estate.engine) as session:
        tenant_id = moves.get(session, move_id).tenant_id
    with moves.holding(estate.engine, tenant_id) as held:
        with held.transaction() as session:
            trip = read(session, move_id)
        yield held, trip


def refuse_if_cancelled(row: MoveRow) -> None:
    """CancelledError when somebody wants that."""
    if row.cancel_asked:
        raise CancelledError


def end_of(estate: Estate, place: Place) -> places.Place:
    """That end of the move, as its connections need it."""
    dsn = estate.doors.dsn(place.server, place.database.name, MOVER)
    return places.Place(dsn=dsn, schema=place.home.schema, name=sessions.of_move(place.home.tenant_id))


def seen_from_aside(estate: Estate, place: Place) -> places.Place:
    """The same for who only looks, and holds no lock: whoever works on the move does not end that."""
    return replace(end_of(estate, place), name="copyhold")


def _trip(session: Session, row: MoveRow) -> Trip:
    route = routes.route_of(session, row.tenant_id)
    assert route is not None
    target = session.get_one(HomeRow, row.target_id) if row.target_id is not None else None
    return Trip(
        id=row.id,
        tenant_id=row.tenant_id,
        slug=route.slug,
        phase=Phase(row.phase),
        epoch=route.epoch,
        route=route,
        source=building.place_of(session, session.get_one(HomeRow, row.source_id)),
        target=building.place_of(session, target) if target is not None else None,
        window_s=row.undo_window_s,
        recipe=Recipe(row.recipe or Recipe.STREAM),
    )
