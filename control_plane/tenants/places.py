"""Servers as places for tenants: their labels, their room, their pools and bridges.

Each function works inside the caller's transaction and leaves committing to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from sqlalchemy.orm import Session

from control_plane import audit
from control_plane.domain.errors import ConflictError, InvalidError, NotFoundError
from control_plane.domain.placement import Load, open_catalogue
from control_plane.domain.tenant import Model
from control_plane.registry import placing, servers, workflow_records
from control_plane.registry.servers import BUILDING, READY
from control_plane.registry.tables import DatabaseRow, ServerRow
from control_plane.registry.workflows import GROW, Workflows
from control_plane.tenants.joining import LOCAL
from control_plane.tenants.labels import UndecidedLabelError, checked_label, checked_labels

SHARED_MAX = 100
"""Of one server's pools, or bridges, at most."""


class OpenCatalogueError(ConflictError):
    """Tenants who shared a database there could use PostgreSQL's own functions and views against each other."""

    code = "catalogue_open"


class NotSharedError(InvalidError):
    """Only pools and bridges are added to a server; silos are made as tenants come."""

    code = "not_shared"


class SharedNumberError(InvalidError):
    """That many databases cannot be had."""

    code = "shared_number"


class RoomError(InvalidError):
    """The room of a server is no number below 0."""

    code = "server_room"


def grow(
    session: Session, workflows: Workflows, server: str, model: Model, number: int | None, actor: str
) -> Sequence[DatabaseRow]:
    """Have a server have `number` finished pools or bridges, or one more than it has; those that are being built now.

    Repeating it with a number makes nothing twice. NotFoundError, NotSharedError or SharedNumberError when it cannot
    be; OpenCatalogueError where tenants may not share one.
    """
    known = servers.server_named(session, server)
    if model is Model.SILO or model not in known.models:
        raise NotSharedError(None if model is Model.SILO else f"{server} takes no {model} tenants")
    if not known.may_share:
        raise OpenCatalogueError(f"{server} {open_catalogue(known.catalogue)}", server=server)
    servers.all_servers(session, lock=True)
    there = [row for row in servers.databases_of(session, server, model) if row.state in (READY, BUILDING)]
    wanted = sum(row.state == READY for row in there) + 1 if number is None else number
    if not 0 < wanted <= SHARED_MAX:
        raise SharedNumberError(f"a server has 1 to {SHARED_MAX} {model} databases, not {wanted}")
    more, held = max(0, wanted - len(there)), placing.loads(session, {}).get(server, Load()).databases
    if more > max(0, known.connections - held):
        raise SharedNumberError(f"{server} has {held} databases for {known.connections} connections: no room for more")
    building = [row for row in there if row.state == BUILDING]
    building += [placing.add_shared(session, server, model) for _ in range(more)]
    for row in building:
        workflow_records.start(session, workflows, GROW, row.id, actor)
        audit.record(session, actor, "server.grow", server, database=row.name)
    return building


def label_server(
    session: Session, name: str, *, add: Iterable[str] = (), remove: Iterable[str] = (), actor: str
) -> bool:
    """Add some labels to a server and remove others; False when that changes nothing. Who lives there stays."""
    row = _locked(session, name)
    added, removed = set(add), {checked_label(text) for text in remove}
    if both := added & removed:
        raise UndecidedLabelError(f"{min(both)!r} cannot be added and removed at once")
    was, now = sorted(row.labels), checked_labels((set(row.labels) | added) - removed)
    if was == now:
        return False
    row.labels = now
    audit.record(session, actor, "server.labels", name, was=was, now=now)
    return True


def accept_open_catalogue(session: Session, name: str, *, accepted: bool, actor: str) -> bool:
    """Say whether pools and bridges are wanted there though its catalogue is open; False when that changes nothing.

    Those that are there already stay.
    """
    row = _locked(session, name)
    if row.settings.get(servers.ACCEPTS, False) == accepted:
        return False
    row.settings = {**row.settings, servers.ACCEPTS: accepted}
    audit.record(session, actor, "server.catalogue", name, accepted=accepted)
    return True


def set_connections(session: Session, name: str, connections: int, actor: str) -> bool:
    """Say how many connections the pooler may hold there; False when that changes nothing. The pooler is not told.

    RoomError of a server of this machine, which has as many as it was made with.
    """
    row = _locked(session, name)
    if row.provider == LOCAL:
        raise RoomError(f"{name} is a part of this machine: its connections are what it was made with")
    if connections < 1:
        raise RoomError("a server has one connection for the pooler at least")
    if row.connections == connections:
        return False
    audit.record(session, actor, "server.connections", name, was=row.connections, now=connections)
    row.connections = connections
    return True


@dataclass(frozen=True, kw_only=True)
class Room:
    """What a server takes; None: any number of them."""

    capacity: int
    """Of tenants."""
    capacity_bytes: int | None
    capacity_per_minute: int | None
    """Of transactions."""


def set_room(session: Session, name: str, room: Room, actor: str) -> bool:
    """Say what a server takes; False when that changes nothing."""
    row = _locked(session, name)
    wanted = asdict(room)
    if any(each is not None and each < 0 for each in wanted.values()):
        raise RoomError
    if all(getattr(row, field) == value for field, value in wanted.items()):
        return False
    for field, value in wanted.items():
        setattr(row, field, value)
    size, rate = room.capacity_bytes, room.capacity_per_minute
    audit.record(session, actor, "server.room", name, tenants=room.capacity, bytes=size, per_minute=rate)
    return True


def _locked(session: Session, name: str) -> ServerRow:
    row = session.get(ServerRow, name, with_for_update=True)
    if row is None:
        raise NotFoundError(f"there is no server {name!r}", server=name)
    return row
