"""`copyhold server grow`, `label` and `room`: what a server takes, and where."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated
from uuid import UUID

import psycopg
import typer

from cli import output
from cli.joining import waiting_for
from cli.options import DataOption, JsonOption
from cli.waiting import WAIT_S, GaveUpError, NotYetError, pause
from cli.wiring import Platform, open_platform
from control_plane.domain.errors import UsageError
from control_plane.domain.server import ACCEPTED
from control_plane.domain.tenant import Model
from control_plane.registry import servers, workflow_records
from control_plane.registry.engine import transaction
from control_plane.registry.servers import READY
from control_plane.tenants import places
from control_plane.tenants.places import Room
from provisioning.catalogues import look
from provisioning.doctor.catalogue import in_words
from provisioning.removing import ServerSilentError

ServerArgument = Annotated[str, typer.Argument(metavar="NAME", help="The server's name.", show_default=False)]
_SIZE = re.compile(r"(\d+)([KMGT]?)", re.IGNORECASE)
_UNITS: dict[str, int] = {unit: 1024**power for power, unit in enumerate(("", "K", "M", "G", "T"))}
UNBOUNDED = "any"
CATALOGUES = {
    "closed": "its catalogue is closed: tenants may share a database there",
    "open": "its catalogue is open: it takes silos alone until a superuser has run what `server hardening` prints",
    ACCEPTED: "its catalogue is open, and that is accepted: tenants may share a database there",
}


def grow(
    name: ServerArgument,
    model: Annotated[Model, typer.Option("--model", help="pool or bridge.", show_default=False)],
    to: Annotated[
        int | None, typer.Option("--to", metavar="N", help="How many it is to have; one more without it.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Return once they are ready, or at once.")] = True,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give a server another pool or bridge database; new tenants go where the fewest are.

    It is done by a worker, and may be repeated: what was begun is gone on with, and with --to nothing is made twice.
    Without this command one is made when all that the server has are full.

    \b
    Example: copyhold server grow alpha --model pool
    Example: copyhold server grow alpha --model bridge --to 3
    """
    with open_platform(data) as platform, waiting_for(name, data):
        building = begin_growing(platform, name, model, to)
        if wait:
            await_ready(platform, building)
    if as_json:
        output.print_json({"server": name, "databases": [database for _, database in building]})
    elif building:
        names = ", ".join(database for _, database in building)
        output.say(f"{name} has {names} now" if wait else f"{names} will be on {name} in a moment")
    else:
        output.say(f"{name} has that many already")


def label(
    name: ServerArgument,
    add: Annotated[list[str] | None, typer.Option("--add", metavar="LABEL", help="May be repeated.")] = None,
    remove: Annotated[list[str] | None, typer.Option("--remove", metavar="LABEL", help="May be repeated.")] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add labels to a server and remove others. New tenants are placed by them; those that it has stay.

    A server labelled plan-PLAN takes only tenants on that plan, one labelled only-LABEL only tenants that have LABEL;
    a tenant labelled on-LABEL goes only to servers that have LABEL.

    \b
    Example: copyhold server label beta --add plan-enterprise --add ssd
    Example: copyhold server label beta --remove plan-enterprise
    """
    if not add and not remove:
        raise UsageError("say which: --add LABEL, --remove LABEL")
    with open_platform(data) as platform, transaction(platform.engine) as session:
        places.label_server(session, name, add=add or (), remove=remove or (), actor=platform.actor)
        labels = servers.server_named(session, name).labels
    if as_json:
        output.print_json({"server": name, "labels": list(labels)})
    else:
        output.say(f"{name} is labelled {', '.join(labels)}" if labels else f"{name} has no labels")


def room(
    name: ServerArgument,
    tenants: Annotated[int | None, typer.Option("--tenants", metavar="N", help="How many it takes.")] = None,
    size: Annotated[str | None, typer.Option("--bytes", metavar="SIZE", help="50G, 800M, …, or `any`.")] = None,
    rate: Annotated[str | None, typer.Option("--per-minute", metavar="N", help="Transactions, or `any`.")] = None,
    connections: Annotated[
        int | None,
        typer.Option("--connections", metavar="N", help="For the pooler; not of a server of this machine."),
    ] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say how many tenants a server takes, how much they may hold together, and how many transactions they may have.

    Those that it has stay. By transactions nobody is refused: the emptiest server is found and servers are evened out
    by them. Connections are shared out anew among its databases, and the pooler is told.

    \b
    Example: copyhold server room beta --tenants 400 --bytes 50G
    Example: copyhold server room beta --per-minute 120000
    Example: copyhold server room gamma --connections 170
    """
    if tenants is None and size is None and rate is None and connections is None:
        raise UsageError("say what: --tenants N, --bytes SIZE, --per-minute N, --connections N")
    with open_platform(data) as platform:
        with transaction(platform.engine) as session:
            was = servers.server_named(session, name)
            now = Room(
                capacity=was.capacity if tenants is None else tenants,
                capacity_bytes=was.capacity_bytes if size is None else bytes_of(size),
                capacity_per_minute=was.capacity_per_minute if rate is None else number_of(rate),
            )
            places.set_room(session, name, now, platform.actor)
            if connections is not None:
                places.set_connections(session, name, connections, platform.actor)
        if connections is not None:
            platform.pooler.apply()
    over = was.connections if connections is None else connections
    if as_json:
        output.print_json({"server": name, **asdict(now), "connections": over})
    else:
        output.say(f"{name} takes {room_in_line(now)}" + (f", over {over} connections" if connections else ""))


def room_in_line(room: Room) -> str:
    """What a server takes, for a person."""
    busy = "" if room.capacity_per_minute is None else f", {room.capacity_per_minute} transactions a minute"
    size_said = in_bytes(room.capacity_bytes) or "any number of"
    return f"{output.counted(room.capacity, 'tenant')}, {size_said} bytes{busy}"


def catalogue(
    name: ServerArgument,
    accept: Annotated[
        bool | None,
        typer.Option("--accept-open/--refuse-open", help="Whether pools and bridges are wanted there all the same."),
    ] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look whether PostgreSQL's own catalogue is closed on a server to tenants who share a database.

    While it is open they could read each other's statements and guess at each other's rows: pools and bridges are not
    built there, and nobody is put into those that there are. Its superuser closes it: `copyhold server hardening`.
    With --accept-open somebody answers for it.

    \b
    Example: copyhold server catalogue far
    Example: copyhold server catalogue far --accept-open
    """
    with open_platform(data) as platform:
        found = look_at_catalogue(platform, name, accept)
    if as_json:
        output.print_json({"server": name, "catalogue": found})
    else:
        output.say(f"{name}: {CATALOGUES[found]}")


def look_at_catalogue(platform: Platform, name: str, accept: bool | None) -> str:
    """How it is now, a key of CATALOGUES, after saying whether it is accepted; NotFoundError for an unknown server.

    ServerSilentError when it does not let us in.
    """
    with transaction(platform.engine) as session:
        server = servers.server_named(session, name)
        if accept is not None:
            places.accept_open_catalogue(session, name, accepted=accept, actor=platform.actor)
    try:
        look(platform.estate, server)
    except psycopg.Error as error:
        raise ServerSilentError(f"{name} cannot be looked at: {in_words(error)}") from error
    with transaction(platform.engine) as session:
        return servers.server_named(session, name).sharing


def begin_growing(platform: Platform, name: str, model: Model, number: int | None) -> list[tuple[UUID, str]]:
    """Have the databases built that the server lacks; their ids and names. Refused as `places.grow` says."""
    with transaction(platform.engine) as session:
        rows = places.grow(session, platform.workflows, name, model, number, platform.actor)
        return [(row.id, row.name) for row in rows]


def await_ready(platform: Platform, building: Sequence[tuple[UUID, str]], *, wait_s: float = WAIT_S) -> None:
    """Return once they are ready; GaveUpError with the reason when one cannot be built, NotYetError after a while."""
    deadline = time.monotonic() + wait_s
    for database_id, name in building:
        while not _ready(platform, database_id, name):
            if time.monotonic() > deadline:
                raise NotYetError(f"{name} is not ready after {wait_s:.0f} s; it goes on as soon as a worker can")
            pause()


def bytes_of(size: str) -> int | None:
    """The number that somebody wrote as 800M; None for any number."""
    if size == UNBOUNDED:
        return None
    match = _SIZE.fullmatch(size)
    if match is None:
        raise UsageError(f"{size!r} is no size: write 50G, 800M or `{UNBOUNDED}`")
    return int(match[1]) * _UNITS[match[2].upper()]


def number_of(text: str) -> int | None:
    """The number that somebody wrote; None for any number."""
    if text == UNBOUNDED:
        return None
    if not text.isdecimal():
        raise UsageError(f"{text!r} is no number: write 120000 or `{UNBOUNDED}`")
    return int(text)


def in_bytes(number: int | None) -> str | None:
    """A number of bytes for a person."""
    if number is None:
        return None
    unit = next((unit for unit in "TGMK" if number >= _UNITS[unit]), "")
    return f"{number / _UNITS[unit]:.1f}{unit}" if unit else str(number)


def _ready(platform: Platform, database_id: UUID, name: str) -> bool:
    with transaction(platform.engine) as session:
        newest = workflow_records.of_subject(session, database_id, 1)
        # Asked after: what has failed by now was not ready when it failed.
        if servers.database(session, database_id).state == READY:
            return True
        if newest and newest[0].state == workflow_records.FAILED:
            raise GaveUpError(f"{name} could not be built: {newest[0].error}")
        return False
