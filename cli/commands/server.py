"""`copyhold server …`: the PostgreSQL servers that hold tenants."""

from __future__ import annotations

from typing import Annotated, TypedDict

import typer

from cli import output
from cli.loading import command_group
from cli.options import DataOption, JsonOption
from cli.wiring import Platform, open_platform
from control_plane import audit
from control_plane.domain.server import Server, ServerStatus
from control_plane.registry import reports, servers
from control_plane.registry.engine import transaction

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


class DatabaseShown(TypedDict):
    """A database that holds tenants."""

    name: str
    model: str
    homes: int
    home_revision: str | None


class ServerShown(ServerInList):
    """A server with its address and its databases."""

    host: str
    port: int
    databases: list[DatabaseShown]


@app.command("list")
def list_(data: DataOption = None, as_json: JsonOption = False) -> None:
    """List servers and how full they are.

    Example: copyhold server list
    """
    with open_platform(data) as platform:
        found = listed(platform)
    if as_json:
        output.print_json(found)
    else:
        output.print_table(
            ("name", "provider", "region", "models", "status", "tenants", "capacity", "connections"),
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
            ("connections", server["connections"]),
        )
    )
    if server["databases"]:
        output.say()
        output.print_table(
            ("database", "model", "homes", "home revision"),
            [(row["name"], row["model"], row["homes"], row["home_revision"]) for row in server["databases"]],
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


def listed(platform: Platform) -> list[ServerInList]:
    """Every server, by name."""
    with transaction(platform.engine) as session:
        load = servers.tenants_on(session)
        return [_in_list(server, load.get(server.name, 0)) for server in servers.all_servers(session)]


def shown(platform: Platform, name: str) -> ServerShown:
    """The server of that name, or NotFoundError."""
    with transaction(platform.engine) as session:
        server = servers.server_named(session, name)
        databases = reports.databases_on(session, server)
    return ServerShown(
        **_in_list(server, sum(database.homes for database in databases)),
        host=server.host,
        port=server.port,
        databases=[
            DatabaseShown(name=row.name, model=str(row.model), homes=row.homes, home_revision=row.home_revision)
            for row in databases
        ],
    )


def set_status(platform: Platform, name: str, status: ServerStatus) -> bool:
    """Whether the server was otherwise before; NotFoundError when there is none of that name."""
    with transaction(platform.engine) as session:
        if servers.server_named(session, name).status is status:
            return False
        servers.set_server_status(session, name, status)
        audit.record(session, platform.actor, "server.status", name, status=str(status))
        return True


def _set_and_print(name: str, status: ServerStatus, meaning: str, data: DataOption, as_json: bool) -> None:
    with open_platform(data) as platform:
        changed = set_status(platform, name, status)
        server = shown(platform, name)
    if as_json:
        output.print_json(server)
    else:
        output.say(f"{name} is {status}" + (f": it {meaning}" if changed else " already"))


def _in_list(server: Server, tenants: int) -> ServerInList:
    return ServerInList(
        name=server.name,
        provider=server.provider,
        region=server.region,
        models=[str(model) for model in server.models],
        status=str(server.status),
        tenants=tenants,
        capacity=server.capacity,
        connections=server.connections,
    )
