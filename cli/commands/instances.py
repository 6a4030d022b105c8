"""`copyhold server add --provider rds` and `copyhold server modify`: servers that AWS runs and this platform makes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from cli import instances, joining, output
from cli.instances import InstanceShown
from cli.options import DataOption, JsonOption
from cli.wiring import Platform, open_platform
from control_plane.domain.errors import UsageError
from control_plane.domain.server import Server
from control_plane.registry.tables import ProgressRow
from control_plane.tenants.joining import rds_server

ShapeOption = Annotated[
    Path | None,
    typer.Option("--shape", metavar="FILE", help="What the RDS instance is to be, JSON or TOML.", show_default=False),
]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The server's name.", show_default=False)]
PATIENCE_S = 600.0
"""Longer than AWS may take: what the platform itself does afterwards."""


def wished(
    name: str, shape: Path | None, ca: Path | None, address: str | None, wish: Mapping[str, Any]
) -> Callable[[Platform], Server]:
    """What makes the server out of a platform's settings. Files are read now: the platform's user may not read them."""
    if shape is None or address is not None:
        raise UsageError("an RDS instance has a shape, and AWS gives it its address: --shape FILE")
    fields, certificates = instances.read_shape(shape), joining.read_file(ca) if ca else ""
    return lambda platform: rds_server(platform.settings.rds, name, fields, certificates, **wish)


def add(platform: Platform, wish: Server, data: Path | None, *, dry_run: bool, as_json: bool) -> None:
    """Make an instance and take it in, or say what would be made."""
    if dry_run:
        _say_what_would_be(platform, wish, as_json)
        return
    with joining.waiting_for(wish.name, data):
        workflow = instances.add(platform, wish)
        if workflow is not None:
            if not as_json:
                output.say("AWS takes 5 to 30 minutes; the worker goes on without this command")
            joining.await_end(platform, workflow, teller(as_json), wait_s=patience_s(platform))
    if as_json:
        output.print_json({"server": wish.name, "added": workflow is not None, "workflow": workflow})
    else:
        output.say(joining.outcome(platform, wish.name) if workflow else f"{wish.name} is on the roll already")


def modify(
    name: NameArgument,
    shape: Annotated[
        Path, typer.Option("--shape", metavar="FILE", help="What it is to be, JSON or TOML.", show_default=False)
    ],
    at_once: Annotated[
        bool, typer.Option("--at-once", help="Not in the maintenance window but now: it may be interrupted.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be changed.")] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have AWS change a server's RDS instance to another shape: what differs and nothing else.

    Storage only grows, versions only rise. What interrupts it is left to its maintenance window, unless --at-once.

    Example: copyhold server modify acme-rds --shape acme.json --dry-run
    """
    wanted = instances.read_shape(shape)
    with open_platform(data) as platform:
        work = instances.differences if dry_run else instances.modify
        different = work(platform, name, wanted, at_once=at_once)
    if as_json:
        output.print_json({"server": name, "changes": list(different), "asked": not dry_run})
    elif different:
        output.say(f"{'would be changed' if dry_run else 'AWS was asked to change'}: {', '.join(different)}")
    else:
        output.say(f"{name} is so already")


def ending_of(found: InstanceShown | None, *, snapshot: bool) -> str | None:
    """What AWS would delete of a server, in words; None of one that is no instance."""
    if found is None:
        return None
    last = (
        f"a last snapshot is left, {found['final_snapshot']}"
        if "final_snapshot" in found
        else "a last snapshot is left"
    )
    return f"RDS instance {found['instance']}; {last if snapshot else 'no snapshot is left'}"


def check_confirmed(found: InstanceShown | None, confirm: str | None, *, snapshot: bool) -> None:
    """UsageError unless the instance may be deleted so, as far as AWS says; the worker looks again."""
    if found is None:
        return
    instance, protected = found["instance"], found.get("protected", False)
    if confirm not in (None, instance):
        raise UsageError(f"--confirm {confirm} is not its name: the RDS instance is {instance}")
    if confirm is None and (protected or not snapshot):
        why = "is protected against deletion" if protected else "would be deleted without a last snapshot"
        raise UsageError(f"RDS instance {instance} {why}; say --confirm {instance} if its data may go")


def facts(found: InstanceShown | None) -> Iterator[tuple[str, Any]]:
    """An instance as rows of `server show`."""
    for name, value in (found or {}).items():
        yield name if name == "instance" else f"instance {name.replace('_', ' ')}", value


def teller(as_json: bool) -> joining.Tell:
    """Prints each step, those that are waited for with the time that has passed."""

    def tell(row: ProgressRow) -> None:
        if not as_json:
            output.say(f"{row.step} {in_minutes(row.duration_ms)}")

    return tell


def in_minutes(milliseconds: int) -> str:
    """How long something took that may take long."""
    return output.in_time(milliseconds) if milliseconds < 120_000 else f"{milliseconds / 60_000:.0f} min"


def patience_s(platform: Platform) -> float:
    """How long a command waits for a workflow that waits for AWS."""
    return platform.settings.rds.ready_within_s + PATIENCE_S


def _say_what_would_be(platform: Platform, wish: Server, as_json: bool) -> None:
    made = instances.what_would_be_made(platform, wish)
    if as_json:
        output.print_json(made)
        return
    output.say(f"would be made in {made['shape']['region']}, for {', '.join(wish.models)}; nothing is in the way:")
    output.print_facts(
        [("instance", made["instance"]), ("parameter group", made["parameter_group"]), ("secret", made["secret"])]
        + [(name.replace("_", " "), value) for name, value in made["shape"].items()]
    )
