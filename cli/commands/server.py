"""`copyhold server …`: the PostgreSQL servers that hold tenants."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, TypedDict

import typer

from cli import instances, output
from cli.commands import instances as instance_commands
from cli.commands import joining, places, relocating
from cli.instances import InstanceShown
from cli.loading import command_group
from cli.options import DataOption, JsonOption
from cli.wiring import Platform, open_platform
from control_plane import audit
from control_plane.domain.budget import Budget
from control_plane.domain.errors import UsageError
from control_plane.domain.server import Server
from control_plane.registry import placing, reports, servers, warm
from control_plane.registry.engine import transaction
from provisioning.losing import give_up
from provisioning.measuring import measure_all
from provisioning.roles import hardening_sql

app = command_group()
_TLS = {None: "none: a socket", "given": "its CA is on the roll", "system": "by authorities that this machine believes"}

ServerArgument = Annotated[str, typer.Argument(metavar="NAME", help="The server's name.", show_default=False)]


class ServerInList(TypedDict):
    """A server and what it holds. `tenants` counts homes, those being built included."""

    name: str
    provider: str
    host: str
    port: int
    admin: str
    tls: str | None
    """Who signs its certificate: `given` (a CA on the roll), `system`, or nobody where a socket does without."""
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
    per_minute: int | None
    """Transactions a minute of all its databases."""
    capacity_per_minute: int | None
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
    """A server with its databases."""

    catalogue: str
    """closed, open (silos alone), accepted (open, and all the same for all models) or unknown."""
    failure: str | None
    """Why it could not be added or removed."""
    databases: list[DatabaseShown]
    ready: int
    """Finished silos that nobody lives in yet."""
    instance: InstanceShown | None
    """Of a server that AWS runs for this platform, as AWS describes it."""


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
                "address",
                "admin",
                "TLS",
                "region",
                "models",
                "status",
                "tenants",
                "capacity",
                "connections",
                "subscribed",
                "used",
                "a minute",
                "labels",
            ),
            [
                (
                    server["name"],
                    server["provider"],
                    f"{server['host']}:{server['port']}" if server["tls"] else "socket",
                    server["admin"],
                    server["tls"],
                    server["region"],
                    server["models"],
                    server["status"],
                    server["tenants"],
                    server["capacity"],
                    server["connections"],
                    f"{server['subscribed']:.0%}",
                    _used(server),
                    _per_minute(server),
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
        server["instance"] = instances.seen(platform, name)
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
            ("administrator", server["admin"]),
            ("TLS", _TLS[server["tls"]]),
            ("catalogue", server["catalogue"]),
            *([("failure", server["failure"])] if server["failure"] else []),
            ("models", server["models"]),
            ("tenants", f"{server['tenants']} of {server['capacity']}"),
            ("connections", f"{server['connections']}, {server['subscribed']:.0%} subscribed"),
            ("bytes", _used(server)),
            ("measured", server["measured_at"]),
            ("labels", server["labels"]),
            ("warm silos", f"{server['ready']} of {server['warm']} ready"),
            *instance_commands.facts(server["instance"]),
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
def activate(name: ServerArgument, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Let a draining server take new tenants again. Nobody else is moved away from it.

    Example: copyhold server activate beta
    """
    with open_platform(data) as platform:
        changed = relocating.take_again(platform, name)
        server = shown(platform, name)
    _print(server, "it takes new tenants" if changed else None, as_json)


@app.command()
def lost(
    name: ServerArgument,
    yes: Annotated[bool, typer.Option("--yes", help="It is meant: nobody looks for what was there any more.")] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give up a server that will not come back: tenants that are closed for good there are struck off the roll.

    A server that answers is refused. Should it come back, `drain` or `activate` takes it up again, and `doctor` names
    what is left there.

    Example: copyhold server lost beta --yes
    """
    if not yes:
        raise UsageError("say --yes if that is meant: what tenants had there is not looked for any more")
    with open_platform(data) as platform:
        changed = give_up(platform.estate, platform.workflows, name, platform.actor)
        server = shown(platform, name)
    _print(server, "nobody looks for what was there" if changed else None, as_json)


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


@app.command("hardening")
def hardening_(name: ServerArgument, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Print the SQL by which a server's superuser closes PostgreSQL's own catalogue to tenants, where we are none.

    It is for psql, which it leads through template1, from which databases are made, and through the platform's that are
    there by now. Templates of silos that were made before are dropped: the next silo makes its template anew. It may be
    repeated.

    Example: copyhold server hardening far | psql --host db-1.example.com --username postgres postgres
    """
    with open_platform(data) as platform:
        text = hardening_sql(["template1", *databases_on(platform, name)])
    if as_json:
        output.print_json({"sql": text})
    else:
        output.say(text)


def databases_on(platform: Platform, name: str) -> list[str]:
    """The databases that are built there; NotFoundError for an unknown server."""
    with transaction(platform.engine) as session:
        server = servers.server_named(session, name).name
        return [row.name for row in servers.all_databases(session) if row.server == server and row.home_revision]


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
        failure = servers.server_row(session, name).failure
    return ServerShown(
        **_in_list(server, sum(database.homes for database in databases), kept, budget, measured),
        catalogue=server.sharing,
        failure=failure,
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
        instance=None,
    )


def keep_warm(platform: Platform, name: str, number: int) -> bool:
    """Whether the server kept another number ready before; refused as `warm.keep` says."""
    with transaction(platform.engine) as session:
        changed = warm.keep(session, platform.workflows, name, number, platform.actor)
        if changed:
            audit.record(session, platform.actor, "server.warm", name, warm=number)
        return changed


def _print(server: ServerShown, meaning: str | None, as_json: bool) -> None:
    if as_json:
        output.print_json(server)
    else:
        output.say(f"{server['name']} is {server['status']}" + (f": {meaning}" if meaning else " already"))


def _tls(server: Server) -> str | None:
    return None if not server.by_tcp else "given" if server.ca else "system"


def _used(server: ServerInList) -> str | None:
    used, capacity = places.in_bytes(server["used_bytes"]), places.in_bytes(server["capacity_bytes"])
    return f"{used or '-'} of {capacity}" if capacity else used


def _per_minute(server: ServerInList) -> str | None:
    there, capacity = server["per_minute"], server["capacity_per_minute"]
    known = str(there) if there is not None else None
    return f"{known or '-'} of {capacity}" if capacity is not None else known


def _in_list(server: Server, tenants: int, kept: int, budget: Budget, measured: datetime | None) -> ServerInList:
    return ServerInList(
        name=server.name,
        provider=server.provider,
        host=server.host,
        port=server.port,
        admin=server.admin,
        tls=_tls(server),
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
        per_minute=server.per_minute,
        capacity_per_minute=server.capacity_per_minute,
        measured_at=measured,
    )


app.command()(relocating.drain)
app.command()(relocating.rebalance)
app.command()(places.catalogue)
app.command()(places.grow)
app.command()(places.label)
app.command()(places.room)
app.command()(joining.check)
app.command()(joining.add)
app.command()(joining.remove)
app.command()(instance_commands.modify)
