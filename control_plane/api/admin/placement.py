"""HTTP for where tenants go: what would be chosen, and what servers take."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field
from sqlalchemy.orm import Session

from control_plane.api.admin.schemas import Labels
from control_plane.api.desk import AsAdmin, AsOps, AsSupport, Desk
from control_plane.api.errors import problems
from control_plane.api.inputs import Input, Name, Output, ServerName
from control_plane.domain.placement import Wish
from control_plane.domain.tenant import Model, Plan
from control_plane.registry import placing, servers
from control_plane.tenants import places
from control_plane.tenants.labels import checked_labels
from control_plane.tenants.places import SHARED_MAX

router = APIRouter(prefix="/admin", tags=["servers"])


class TenantToPlace(Input):
    """A tenant that might be made."""

    model: Model
    plan: Plan
    labels: Labels = []
    server: Name | None = None
    region: Name | None = None


class Placement(Output):
    """Where it would live now; nowhere without a server."""

    server: str | None
    reason: str
    objections: dict[str, list[str]]
    """By server, what speaks against it; nothing against one that fits."""


class MoreDatabases(Input):
    """How many pools or bridges a server is to have."""

    model: Model
    number: Annotated[int | None, Field(ge=1, le=SHARED_MAX, description="One more than it has without it.")] = None


class Building(Output):
    """The databases that are being built."""

    databases: list[str]


class ServerLabels(Input):
    """The labels that a server is to have, and no others."""

    labels: Labels


class Room(Input):
    """What a server is to take."""

    tenants: Annotated[int, Field(ge=0, lt=2**31)]
    bytes: Annotated[int | None, Field(ge=0, lt=2**63, description="As many as they like without it.")] = None
    per_minute: Annotated[int | None, Field(ge=0, lt=2**63, description="Transactions; any number without it.")] = None


class OpenCatalogue(Input):
    """Whether pools and bridges are wanted on a server though PostgreSQL's own catalogue is open there."""

    accept_open: bool


@router.post("/placement/preview", responses=problems(401, 403, 413, 422, 503))
async def preview_placement(body: TenantToPlace, desk: AsSupport) -> Placement:
    """Where a tenant would live now, and why; nothing is made."""
    return await desk.run(_preview, body, desk)


@router.post("/servers/{name}/databases", status_code=202, responses=problems(401, 403, 404, 413, 422, 503))
async def add_databases(name: ServerName, body: MoreDatabases, desk: AsOps) -> Building:
    """Begin to give a server more pools or bridges; its details tell when they are ready."""
    return await desk.run(_grow, name, body, desk)


@router.put("/servers/{name}/labels", status_code=204, responses=problems(401, 403, 404, 413, 422, 503))
async def put_server_labels(name: ServerName, body: ServerLabels, desk: AsOps) -> None:
    """Give a server these labels and no others; who lives there stays."""
    await desk.run(_label, name, body.labels, desk.actor)


@router.put("/servers/{name}/room", status_code=204, responses=problems(401, 403, 404, 413, 422, 503))
async def put_server_room(name: ServerName, body: Room, desk: AsOps) -> None:
    """Say how many tenants, bytes and transactions a server takes; who lives there stays."""
    await desk.run(_set_room, name, body, desk.actor)


@router.put("/servers/{name}/catalogue", status_code=204, responses=problems(401, 403, 404, 413, 422, 503))
async def put_server_catalogue(name: ServerName, body: OpenCatalogue, desk: AsAdmin) -> None:
    """Answer for an open catalogue, or not any more: whether tenants may share a database there; who does, stays."""
    await desk.run(_accept_open, name, body, desk.actor)


def _preview(session: Session, body: TenantToPlace, desk: Desk) -> Placement:
    wish = Wish(
        model=body.model,
        plan=body.plan,
        labels=tuple(checked_labels(body.labels)),
        server=body.server,
        region=body.region,
    )
    verdict = placing.verdict(session, wish, desk.control.settings.limits.full_at)
    return Placement(
        server=verdict.choice.server.name if verdict.choice else None,
        reason=verdict.choice.reason if verdict.choice else verdict.refusal(wish.model),
        objections={name: list(said) for name, said in verdict.objections.items()},
    )


def _grow(session: Session, name: str, body: MoreDatabases, desk: Desk) -> Building:
    rows = places.grow(session, desk.workflows, name, body.model, body.number, desk.actor)
    return Building(databases=[row.name for row in rows])


def _label(session: Session, name: str, labels: list[str], actor: str) -> None:
    there = set(servers.server_named(session, name).labels)
    places.label_server(session, name, add=labels, remove=there - set(labels), actor=actor)


def _accept_open(session: Session, name: str, body: OpenCatalogue, actor: str) -> None:
    places.accept_open_catalogue(session, name, accepted=body.accept_open, actor=actor)


def _set_room(session: Session, name: str, room: Room, actor: str) -> None:
    wanted = places.Room(capacity=room.tenants, capacity_bytes=room.bytes, capacity_per_minute=room.per_minute)
    places.set_room(session, name, wanted, actor)
