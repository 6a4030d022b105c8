"""`copyhold server …`: the PostgreSQL servers that hold tenants."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, TypedDict

import typer

from cli import output
from cli.commands import places
from cli.loading import command_group
from cli.options import DataOption, JsonOption
from cli.wiring import Platform, open_platform
from control_plane import audit
from control_plane.domain.budget import Budget
from control_plane.domain.server import Server, ServerStatus
from control_plane.registry import placing, reports, servers, warm
from control_plane.registry.engine import transaction
from provisioning.measuring import measure_all

app = command_group()

ServerArgument = Annotated[str, typer.Argument(metavar="NAME", help="The server's name.", show_default=False)]


class ServerInList(TypedDict):
    """A server and what it holds. `tenants` counts homes, those being built included."""

    name: str
    provider: str
    region: str
    models: list[str]
    status: str
    tenants: int
    capacity: int
    connections: int
    warm: int
    """Finished silos that it is to keep ready."""
    labels: list[str]
    subscribed: float
    """What the pooler may ask of its connections, over them: above 1 not all can have theirs at once."""
    used_bytes: int | None
    capacity_bytes: int | None
    measured_at: datetime | None


class DatabaseShown(TypedDict):
    """A database that holds tenants."""

    name: str
    model: str
    homes: int
    state: str
    home_revision: str | None
    pool_size: int
    """How many server connections the pooler may hold to it."""


class ServerShown(ServerInList):
    """A server with its address and its databases."""

    host: str
    port: int
    databases: list[DatabaseShown]
    ready: int
    """Finished silos that nobody lives in yet."""


@app.command("list")
def list_(
    measure: Annotated[
        bool, typer.Option("--measure", help="Measure first how much they hold; takes a while.")
    ] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """List servers and how full they are. How much they hold is measured every ten minutes, or now with --measure.

    Example: copyhold server list
    """
    with open_platform(data) as platform:
        if measure:
            for server, reason in measure_all(platform.estate).items():
                output.note(f"{server} could not be measured: {reason}")
        found = listed(platform)
    if as_json:
        output.print_json(found)
    else:
        output.print_table(
            (
                "name",
                "provider",
                "region",
                "models",
                "status",
                "tenants",
                "capacity",
                "connections",
                "subscribed",
                "used",
                "labels",
            ),
            [
                (
                    server["name"],
                    server["provider"],
                    server["region"],
                    server["models"],
                    server["status"],
                    server["tenants"],
                    server["capacity"],
                    server["connections"],
                    f"{server['subscribed']:.0%}",
                    _used(server),
                    server["labels"],
                )
                for server in found
            ],
        )


@app.command()
def show(name: ServerArgument, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Show one server with its databases.

    Example: copyhold server show beta
    """
    with open_platform(data) as platform:
        server = shown(platform, name)
    if as_json:
        output.print_json(server)
        return
    output.print_facts(
        (
            ("name", server["name"]),
            ("status", server["status"]),
            ("provider", server["provider"]),
            ("region", server["region"]),
            ("address", f"{server['host']} port {server['port']}"),
            ("models", server["models"]),
            ("tenants", f"{server['tenants']} of {server['capacity']}"),
            ("connections", f"{server['connections']}, {server['subscribed']:.0%} subscribed"),
            ("bytes", _used(server)),
            ("measured", server["measured_at"]),
            ("labels", server["labels"]),
            ("warm silos", f"{server['ready']} of {server['warm']} ready"),
        )
    )
    if server["databases"]:
        output.say()
        output.print_table(
            ("database", "model", "homes", "state", "home revision", "pool size"),
            [
                (row["name"], row["model"], row["homes"], row["state"], row["home_revision"], row["pool_size"])
                for row in server["databases"]
            ],
        )


@app.command()
def drain(name: ServerArgument, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Put no new tenants on a server. Those that it has stay and are served.

    Example: copyhold server drain beta
    """
    _set_and_print(name, ServerStatus.DRAINING, "takes no new tenants", data, as_json)


@app.command()
def activate(name: ServerArgument, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Let a draining server take new tenants again.

    Example: copyhold server activate beta
    """
    _set_and_print(name, ServerStatus.ACTIVE, "takes new tenants", data, as_json)


@app.command("warm")
def warm_(
    name: ServerArgument,
    number: Annotated[int, typer.Argument(metavar="N", help="How many; 0 for none.", show_default=False)],
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have a server keep N finished silos ready, so that a tenant who gets one waits for none of its making.

    They take no tenant's place, and there are never more than there is room for. A worker makes what is missing and
    drops what is too many.

    Example: copyhold server warm beta 5
    """
    with open_platform(data) as platform:
        changed = keep_warm(platform, name, number)
        server = shown(platform, name)
    if as_json:
        output.print_json(server)
    else:
        output.say(f"{name} keeps {output.counted(number, 'silo')} ready" + ("" if changed else " already"))


def listed(platform: Platform) -> list[ServerInList]:
    """Every server, by name."""
    with transaction(platform.engine) as session:
        load = servers.tenants_on(session)
        kept, budget, measured = warm.kept(session), placing.budget(session), placing.measured_at(session)
        return [
            _in_list(server, load.get(server.name, 0), kept[server.name], budget, measured[server.name])
            for server in servers.all_servers(session)
        ]


def shown(platform: Platform, name: str) -> ServerShown:
    """The server of that name, or NotFoundError."""
    with transaction(platform.engine) as session:
        server = servers.server_named(session, name)
        databases, kept = reports.databases_on(session, server), warm.kept(session)[name]
        budget, measured = placing.budget(session), placing.measured_at(session)[name]
    return ServerShown(
        **_in_list(server, sum(database.homes for database in databases), kept, budget, measured),
        host=server.host,
        port=server.port,
        databases=[
            DatabaseShown(
                name=row.name,
                model=str(row.model),
                homes=row.homes,
                state=row.state,
                home_revision=row.home_revision,
                pool_size=budget.pool_sizes.get(row.alias, 0),
            )
            for row in databases
        ],
        ready=sum(row.state == servers.WARM for row in databases),
    )


def set_status(platform: Platform, name: str, status: ServerStatus) -> bool:
    """Whether the server was otherwise before; NotFoundError when there is none of that name."""
    with transaction(platform.engine) as session:
        if servers.server_named(session, name).status is status:
            return False
        servers.set_server_status(session, name, status)
        audit.record(session, platform.actor, "server.status", name, status=str(status))
        return True


def keep_warm(platform: Platform, name: str, number: int) -> bool:
    """Whether the server kept another number ready before; refused as `warm.keep` says."""
    with transaction(platform.engine) as session:
        changed = warm.keep(session, platform.workflows, name, number, platform.actor)
        if changed:
            audit.record(session, platform.actor, "server.warm", name, warm=number)
        return changed


def _set_and_print(name: str, status: ServerStatus, meaning: str, data: DataOption, as_json: bool) -> None:
    with open_platform(data) as platform:
        changed = set_status(platform, name, status)
        server = shown(platform, name)
    if as_json:
        output.print_json(server)
    else:
        output.say(f"{name} is {status}" + (f": it {meaning}" if changed else " already"))


def _used(server: ServerInList) -> str | None:
    used, capacity = places.in_bytes(server["used_bytes"]), places.in_bytes(server["capacity_bytes"])
    return f"{used or '-'} of {capacity}" if capacity else used


def _in_list(server: Server, tenants: int, kept: int, budget: Budget, measured: datetime | None) -> ServerInList:
    return ServerInList(
        name=server.name,
        provider=server.provider,
        region=server.region,
        models=[str(model) for model in server.models],
        status=str(server.status),
        tenants=tenants,
        capacity=server.capacity,
        connections=server.connections,
        warm=kept,
        labels=list(server.labels),
        subscribed=round(budget.subscribed[server.name], 3),
        used_bytes=server.used_bytes,
        capacity_bytes=server.capacity_bytes,
        measured_at=measured,
    )


app.command()(places.grow)
app.command()(places.label)
app.command()(places.room)
