"""`copyhold pooler …`: what PgBouncer should be told, what it has been told, and how it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

import typer

from cli import output
from cli.loading import command_group
from cli.options import DataOption, JsonOption
from cli.supervisor.tools import find_tools
from cli.wiring import Platform, open_platform
from control_plane import audit
from control_plane.registry import placing, servers
from control_plane.registry.engine import transaction
from provisioning.pooler.apply import Drift, Pooler
from provisioning.pooler.errors import PoolerDownError
from provisioning.pooler.render import LOGINS_FILE, without_secrets

app = command_group()
OVER = ": when all pools are in use at once, some wait (docs/operations/servers.md)"


class PoolShown(TypedDict):
    """The pool of one alias. Without a connection so far, all its numbers are 0."""

    alias: str
    server: str
    server_subscribed: float
    """What all pools of that server may ask of its connections, over them: above 1 not all get theirs at once."""
    pool_size: int
    clients_active: int
    clients_waiting: int
    servers_active: int
    servers_idle: int
    longest_wait_s: float


class DriftShown(TypedDict):
    """How the roll, the files and the running pooler differ."""

    drift: bool
    files: dict[str, str]
    missing: list[str]
    extra: list[str]
    settings: list[str]


@app.command()
def render(data: DataOption = None, as_json: JsonOption = False) -> None:
    """Print the pooler's files as the roll asks for them, passwords left out; changes nothing.

    Needs no running pooler.

    Example: copyhold pooler render
    """
    with open_platform(data) as platform:
        files = rendered(platform.pooler)
    if as_json:
        output.print_json({"files": dict(files)})
        return
    for name, text in files.items():
        output.say(f"==> {name} <==\n{text}")


@app.command()
def diff(data: DataOption = None, as_json: JsonOption = False) -> None:
    """Show where the pooler's files or the running pooler differ from the roll; exit 1 if they do.

    Example: copyhold pooler diff || copyhold pooler apply
    """
    with open_platform(data) as platform:
        drift = platform.pooler.diff()
    if as_json:
        output.print_json(drift_shown(drift))
    else:
        _print_drift(drift)
    if not drift.none:
        raise typer.Exit(1)


@app.command()
def apply(data: DataOption = None, as_json: JsonOption = False) -> None:
    """Write the files as the roll asks for them, and have the pooler read them. Hand edits are lost.

    Example: copyhold pooler apply
    """
    with open_platform(data) as platform:
        changed = applied(platform)
    if as_json:
        output.print_json({"changed": changed})
    else:
        output.say("applied" if changed else "nothing to change")


@app.command()
def status(data: DataOption = None, as_json: JsonOption = False) -> None:
    """Show each alias's pool: clients served and waiting, server connections used and idle.

    Example: copyhold pooler status
    """
    with open_platform(data) as platform:
        found = pools(platform)
    if as_json:
        output.print_json(found)
        return
    output.print_table(
        ("alias", "server", "size", "clients", "waiting", "servers", "idle", "longest wait"),
        [
            (
                pool["alias"],
                pool["server"],
                pool["pool_size"],
                pool["clients_active"],
                pool["clients_waiting"],
                pool["servers_active"],
                pool["servers_idle"],
                output.in_time(pool["longest_wait_s"] * 1000),
            )
            for pool in found
        ],
    )
    output.say()
    for server, subscribed in sorted({pool["server"]: pool["server_subscribed"] for pool in found}.items()):
        output.say(f"{server}: {subscribed:.0%} of its connections are subscribed" + (OVER if subscribed > 1 else ""))


def rendered(pooler: Pooler) -> Mapping[str, str]:
    """The files for the running pooler, else for the one installed here; SetupError when there is neither.

    Without the passwords.
    """
    try:
        files = pooler.rendered()
    except PoolerDownError:
        major, minor = find_tools().pgbouncer.release
        files = pooler.rendered(version=(major, minor))
    return {**files, LOGINS_FILE: without_secrets(files[LOGINS_FILE])}


def applied(platform: Platform) -> bool:
    """Whether anything had to be changed."""
    changed = platform.pooler.apply()
    if changed:
        with transaction(platform.engine) as session:
            audit.record(session, platform.actor, "pooler.apply", "pooler")
    return changed


def pools(platform: Platform) -> list[PoolShown]:
    """The pool of every alias on the roll."""
    live = {row["database"]: row for row in platform.pooler.status()}
    with transaction(platform.engine) as session:
        there, budget = servers.for_pooler(session), placing.budget(session)
    return [
        PoolShown(
            alias=database.alias,
            server=database.server,
            server_subscribed=round(budget.subscribed[database.server], 3),
            pool_size=budget.pool_sizes[database.alias],
            clients_active=int(row.get("cl_active", 0)),
            clients_waiting=int(row.get("cl_waiting", 0)),
            servers_active=int(row.get("sv_active", 0)),
            servers_idle=int(row.get("sv_idle", 0)),
            longest_wait_s=int(row.get("maxwait", 0)) + int(row.get("maxwait_us", 0)) / 1_000_000,
        )
        for database in sorted(there, key=lambda each: each.alias)
        for row in [live.get(database.alias, {})]
    ]


def drift_shown(drift: Drift) -> DriftShown:
    """The drift, files that agree left out."""
    return DriftShown(
        drift=not drift.none,
        files={name: text for name, text in drift.files.items() if text},
        missing=list(drift.missing),
        extra=list(drift.extra),
        settings=list(drift.settings),
    )


def _print_drift(drift: Drift) -> None:
    if drift.none:
        output.say("roll, files and running pooler agree")
        return
    for text in drift.files.values():
        if text:
            output.say(text.rstrip("\n"))
    for alias in drift.missing:
        output.say(f"the running pooler lacks {alias}, or has it otherwise")
    for alias in drift.extra:
        output.say(f"the running pooler has {alias}, which is not on the roll")
    for name in drift.settings:
        output.say(f"the running pooler has {name} otherwise than its file")
