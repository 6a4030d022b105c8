"""HTTP for servers: what they hold, and whether they take more."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from sqlalchemy.orm import Session

from control_plane.api.desk import AsOps, AsSupport, Desk
from control_plane.api.errors import problems
from control_plane.api.inputs import Input, Output, ServerName
from control_plane.domain.budget import Budget
from control_plane.domain.server import Server, ServerStatus
from control_plane.domain.tenant import Model
from control_plane.registry import placing, reports, servers
from control_plane.tenants import relocating

router = APIRouter(prefix="/admin/servers", tags=["servers"])


class NewServerStatus(Input):
    """Whether the server is to take new tenants."""

    status: Literal[ServerStatus.ACTIVE, ServerStatus.DRAINING]


class ServerOut(Output):
    """A server. Its address is nobody's business here."""

    name: str
    provider: str
    region: str
    models: list[Model]
    status: ServerStatus
    capacity: int
    tenants: int
    """Homes there, those being built included."""
    connections: int
    subscribed: float
    """What the pooler may ask of its connections, over them: above 1 not all can have theirs at once."""
    labels: list[str]
    capacity_bytes: int | None
    used_bytes: int | None
    """What its databases held when they were last measured."""
    capacity_per_minute: int | None
    per_minute: int | None
    """How many transactions a minute they had then."""


class DatabaseOut(Output):
    """A database that holds tenants."""

    name: str
    model: Model
    homes: int
    state: str
    """building, ready, warm (a finished silo that nobody lives in yet) or going."""
    home_revision: str | None


class ServerDetails(ServerOut):
    """A server with its databases."""

    catalogue: str
    """closed, open (silos alone), accepted (open, and all the same for all models) or unknown."""
    databases: list[DatabaseOut]


class ServerList(Output):
    """Every server, by name."""

    items: list[ServerOut]


@router.get("", responses=problems(401, 503))
async def list_servers(desk: AsSupport) -> ServerList:
    """Every server with what it holds."""
    return await desk.run(_all)


@router.get("/{name}", responses=problems(401, 404, 503))
async def get_server(name: ServerName, desk: AsSupport) -> ServerDetails:
    """One server with its databases."""
    return await desk.run(_details, name)


@router.put("/{name}/status", responses=problems(401, 403, 404, 413, 422, 503))
async def put_server_status(name: ServerName, body: NewServerStatus, desk: AsOps) -> ServerOut:
    """Let a server take new tenants, or not; those that it has stay (`drain` moves them away)."""
    return await desk.run(_set_status, name, body.status, desk)


def _all(session: Session) -> ServerList:
    load, budget = servers.tenants_on(session), placing.budget(session)
    return ServerList(
        items=[_shown(server, load.get(server.name, 0), budget) for server in servers.all_servers(session)]
    )


def _details(session: Session, name: str) -> ServerDetails:
    server = servers.server_named(session, name)
    databases = [DatabaseOut.model_validate(found) for found in reports.databases_on(session, server)]
    shown = _shown(server, sum(database.homes for database in databases), placing.budget(session))
    return ServerDetails(**shown.model_dump(), catalogue=server.sharing, databases=databases)


def _set_status(session: Session, name: str, status: ServerStatus, desk: Desk) -> ServerOut:
    change = relocating.stop_taking if status is ServerStatus.DRAINING else relocating.take_again
    change(session, desk.workflows, name, desk.actor)
    session.flush()
    load = servers.tenants_on(session).get(name, 0)
    return _shown(servers.server_named(session, name), load, placing.budget(session))


def _shown(server: Server, tenants: int, budget: Budget) -> ServerOut:
    return ServerOut(
        name=server.name,
        provider=server.provider,
        region=server.region,
        models=list(server.models),
        status=server.status,
        capacity=server.capacity,
        tenants=tenants,
        connections=server.connections,
        subscribed=round(budget.subscribed[server.name], 3),
        labels=list(server.labels),
        capacity_bytes=server.capacity_bytes,
        used_bytes=server.used_bytes,
        capacity_per_minute=server.capacity_per_minute,
        per_minute=server.per_minute,
    )
