"""`copyhold server check`, `add` and `remove`: servers that others run, looked at, taken in and let go."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli import joining, output
from cli.commands import instances
from cli.commands.instances import ShapeOption
from cli.instances import seen
from cli.joining import Examined
from cli.options import DataOption, JsonOption
from cli.waiting import WAIT_S
from cli.wiring import Platform, open_platform
from control_plane.domain.errors import UsageError
from control_plane.domain.server import Server, ServerStatus
from control_plane.domain.tenant import Model, parse_model
from control_plane.tenants.joining import RDS, checked
from provisioning.providers.existing.address import parse_address
from provisioning.providers.existing.findings import Level

ServerArgument = Annotated[str, typer.Argument(metavar="NAME", help="The server's name.", show_default=False)]
PasswordOption = Annotated[
    Path | None,
    typer.Option(
        "--password-file",
        metavar="FILE",
        help="Holds the administrator's password; - reads a line of standard input. "
        "Else COPYHOLD_ADMIN_PASSWORD, else it is asked for.",
        show_default=False,
    ),
]
CaOption = Annotated[
    Path | None,
    typer.Option(
        "--ca",
        metavar="FILE",
        help="The certificates of whoever signs the server's, PEM; without it those that this machine believes.",
        show_default=False,
    ),
]
ADDRESS = "HOST:PORT/ADMIN"
EXISTING = "existing"


def check(
    address: Annotated[
        str, typer.Argument(metavar=ADDRESS, help="The server and its administrator.", show_default=False)
    ],
    ca: CaOption = None,
    password_file: PasswordOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look at a server that others run: could tenants live there, and what SQL would make it so? Changes nothing.

    Of a server on the roll, password and certificates are known. Exit 1 when it cannot be used as it is.

    Example: copyhold server check db.example.com:5432/keeper --ca db-ca.pem
    """
    place, certificates = parse_address(address), joining.read_file(ca) if ca else ""
    # A file is read before this process becomes the platform's user, who may not.
    told = joining.read_password(password_file, place.admin) if joining.password_given(password_file) else None
    with open_platform(data) as platform:
        known = joining.known_access(platform, place) if told is None else None
        password, authorities = known or (told or joining.read_password(None, place.admin), "")
        examined = joining.look(platform, place, password, certificates or authorities)
    if as_json:
        output.print_json(examined.shown())
    else:
        _tell(examined)
    if not examined.fits:
        raise typer.Exit(1)


def add(
    name: ServerArgument,
    address: Annotated[
        str | None,
        typer.Option("--address", metavar=ADDRESS, help="The server and its administrator.", show_default=False),
    ] = None,
    provider: Annotated[
        str, typer.Option("--provider", help="existing: somebody else runs it; rds: AWS does, and it is made.")
    ] = EXISTING,
    shape: ShapeOption = None,
    ca: CaOption = None,
    password_file: PasswordOption = None,
    region: Annotated[str, typer.Option("--region", metavar="R", help="Where it is.")] = "local",
    models: Annotated[
        str, typer.Option("--models", metavar="M,…", help="Which tenants it takes.")
    ] = "pool,bridge,silo",
    capacity: Annotated[int, typer.Option("--capacity", metavar="N", help="How many tenants it takes.", min=1)] = 1000,
    connections: Annotated[
        int | None,
        typer.Option("--connections", metavar="N", help="For the pooler; without it all but a reserve.", min=1),
    ] = None,
    label: Annotated[list[str] | None, typer.Option("--label", metavar="L", help="May be repeated.")] = None,
    accept_open_catalogue: Annotated[
        bool,
        typer.Option(
            "--accept-open-catalogue", help="Pools and bridges too though nobody has closed it; see `server catalogue`."
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Look at it, and say what would be done.")] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take in a server that others run, or have AWS make one. It is looked at: what is missing is told, with the SQL.

    Its administrator's password is kept sealed. The platform's roles are made, with passwords of their own, and what
    the first tenants need. What was cut off, or failed, is gone on with by the same command, or taken back by
    `copyhold server remove`.

    Example: copyhold server add gamma --address db.example.com:5432/keeper --ca db-ca.pem --models silo

    Example: copyhold server add acme-rds --provider rds --shape acme.json --models silo --capacity 1
    """
    if provider == RDS:
        wanted = {"region": region, "models": _models(models), "capacity": capacity, "connections": connections or 0}
        wanted |= {"labels": tuple(label or ()), "accepts_open_catalogue": accept_open_catalogue}
        made = instances.wished(name, shape, ca, address, wanted)
        with open_platform(data) as platform:
            instances.add(platform, made(platform), data, dry_run=dry_run, as_json=as_json)
        return
    if provider != EXISTING:
        raise UsageError(f"there is no provider {provider!r} to add a server with: {EXISTING} or {RDS}")
    if address is None or shape is not None:
        raise UsageError(f"an {EXISTING} server has an address and no shape: --address {ADDRESS}")
    place, certificates = parse_address(address), joining.read_file(ca) if ca else ""
    wish = checked(
        Server(
            name=name,
            provider=provider,
            region=region,
            host=place.host,
            port=place.port,
            models=_models(models),
            capacity=capacity,
            connections=connections or 0,
            status=ServerStatus.ADDING,
            labels=tuple(label or ()),
            admin=place.admin,
            ca=certificates,
            accepts_open_catalogue=accept_open_catalogue,
        )
    )
    password = joining.read_password(password_file, place.admin)
    with open_platform(data) as platform:
        examined = joining.look(platform, place, password, certificates, connections=connections)
        if not as_json and not (examined.fits and not examined.sql):
            _tell(examined)
        if dry_run:
            _say_what_would_be(wish, examined, as_json)
            return
        _add(platform, wish, examined, password, data, as_json)


def remove(
    name: ServerArgument,
    yes: Annotated[bool, typer.Option("--yes", help="It is meant: what the platform has there is dropped.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be dropped.")] = False,
    confirm: Annotated[
        str | None,
        typer.Option(
            "--confirm", metavar="INSTANCE", help="Of RDS: end it though it is protected.", show_default=False
        ),
    ] = None,
    snapshot: Annotated[
        bool, typer.Option("--snapshot/--no-snapshot", help="Of RDS: whether a last snapshot of it is left.")
    ] = True,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a server go on which no tenant lives: drop what the platform has there, and strike it off the roll.

    Dropped are empty pools and bridges, warm silos, templates, the apps' logins and the platform's roles. Nothing else
    there is touched. What was cut off is gone on with by the same command. Of a server that is lost (`copyhold server
    lost`) nothing is dropped. An RDS instance is deleted with all it has; a last snapshot is left of it.

    Example: copyhold server remove gamma --yes
    """
    with open_platform(data) as platform:
        goes = joining.what_goes(platform, name)
        said = f"{', '.join(goes) or 'no database'}, templates and the platform's roles"
        instance = seen(platform, name)
        ends = instances.ending_of(instance, snapshot=snapshot)
        if ends is not None:
            said = f"{', '.join(goes) or 'no database'}, and {ends}"
        if dry_run:
            if as_json:
                output.print_json({"server": name, "drops": goes, "instance": instance})
            else:
                output.say(f"would be dropped on {name}: {said}")
            return
        if not yes:
            raise UsageError(f"say --yes if that is meant; on {name} go: {said}")
        instances.check_confirmed(instance, confirm, snapshot=snapshot)
        patience_s = instances.patience_s(platform) if ends else WAIT_S
        with joining.waiting_for(name, data):
            workflow = joining.remove(platform, name, confirm=confirm, snapshot=snapshot)
            joining.await_end(platform, workflow, instances.teller(as_json), wait_s=patience_s)
        left = joining.left_behind(platform, name)
    if as_json:
        output.print_json({"server": name, "dropped": goes, "left": left})
        return
    output.say(f"{name} is off the roll")
    if left:
        output.say(f"left there: {', '.join(left)}; its superuser drops them: {'; '.join(map(_drop, left))}")


def _add(platform: Platform, wish: Server, examined: Examined, password: str, data: Path | None, as_json: bool) -> None:
    with joining.waiting_for(wish.name, data):
        workflow = joining.add(platform, wish, examined, password)
        if workflow is not None:
            joining.await_end(platform, workflow, instances.teller(as_json))
    if as_json:
        output.print_json({"server": wish.name, "added": workflow is not None, "workflow": workflow})
    else:
        output.say(joining.outcome(platform, wish.name) if workflow else f"{wish.name} is on the roll already")


def _say_what_would_be(wish: Server, examined: Examined, as_json: bool) -> None:
    if as_json:
        output.print_json({"server": wish.name, **examined.shown()})
    elif examined.fits:
        output.say(f"{wish.name} would be added, for {', '.join(wish.models)}")
    if not examined.fits:
        raise typer.Exit(1)


def _tell(examined: Examined) -> None:
    rows = [(each.level, each.what, each.why, each.remedy) for each in examined.findings]
    for level in (Level.ERROR, Level.WARNING, Level.OK):
        for _, what, why, remedy in (row for row in rows if row[0] is level):
            output.say(f"{level:<8}{what}: {output.in_line(why)}" + (f" ({output.in_line(remedy)})" if remedy else ""))
    if examined.sql:
        output.say("\nAs a superuser, in its database postgres:\n")
        output.say(examined.sql)
    elif examined.fits:
        output.say("tenants can live there")


def _drop(role: str) -> str:
    kept = f"REVOKE SET ON PARAMETER session_replication_role FROM {role}; " if role.endswith("_mover") else ""
    return f"{kept}DROP ROLE {role}"


def _models(text: str) -> tuple[Model, ...]:
    return tuple(dict.fromkeys(parse_model(each.strip()) for each in text.split(",") if each.strip()))
