"""The root of the `copyhold` command: its sub-commands, and the one place where an error becomes a person's line."""

from __future__ import annotations

import logging
import os
import sys
from typing import Annotated, NoReturn

import typer

from cli.loading import Entry, lazy_group
from control_plane.domain.errors import CopyholdError, Kind

COMMANDS = {
    "up": Entry("cli.commands.up:up", "Start everything on this machine."),
    "down": Entry("cli.commands.down:down", "Stop the platform that was started here."),
    "doctor": Entry("cli.commands.doctor:doctor", "Look at everything, and say what is not as it must be."),
    "demo": Entry("cli.commands.demo:demo", "See all of it at work, from nothing."),
    "tenant": Entry("cli.commands.tenants:app", "Make tenants, look at them, move, suspend, export and close them."),
    "key": Entry("cli.commands.key:app", "API keys of tenants."),
    "master-key": Entry("cli.commands.master_key:app", "The key that everything sealed and signed rests on."),
    "server": Entry("cli.commands.server:app", "The PostgreSQL servers that hold tenants."),
    "migrate": Entry("cli.commands.migrate:app", "Bring the whole fleet to a revision."),
    "pooler": Entry("cli.commands.pooler:app", "PgBouncer: what it should be told, and what it has been."),
    "staff": Entry("cli.commands.staff:app", "The people who may use the control plane."),
    "audit": Entry("cli.commands.audit:app", "Who did what to whom."),
    "api": Entry("cli.commands.processes:api", "Run one API process."),
    "worker": Entry("cli.commands.processes:worker", "Run one worker process."),
}

USAGE_KINDS = frozenset({Kind.INVALID})


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"copyhold {version('copyhold')}")
        raise typer.Exit


app = typer.Typer(
    name="copyhold",
    cls=lazy_group(COMMANDS),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def root(
    _: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Hybrid tenancy for PostgreSQL: pool, bridge and silo tenants behind one road.

    Every command takes --data DIR, the folder of a platform that `copyhold up` started (default: .copyhold).
    """


def main() -> None:
    """Run a command. A failure is one line on standard error: exit 1, or 2 when the command was used wrongly.

    COPYHOLD_DEBUG=1 shows the trace as well.
    """
    try:
        app(prog_name="copyhold")
    except CopyholdError as error:
        _end(error.message, 2 if error.kind in USAGE_KINDS else 1)
    except OSError as error:  # a full disk behind standard output, a file that is gone
        _end(f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error), 1)


def _end(message: str, code: int) -> NoReturn:
    if os.environ.get("COPYHOLD_DEBUG"):
        logging.getLogger("copyhold").exception("failed")
    sys.stderr.write(f"copyhold: {' '.join(message.split())}\n")
    sys.exit(code)


if __name__ == "__main__":
    main()
