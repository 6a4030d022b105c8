"""The root of the `copyhold` command: its sub-commands, and the one place where an error becomes a line for a person."""

from __future__ import annotations

import logging
import os
import sys

import typer

from cli.commands import down, processes, up
from control_plane.domain.errors import CopyholdError, Kind

app = typer.Typer(
    name="copyhold",
    help="Hybrid tenancy for PostgreSQL: pool, bridge and silo tenants behind one road.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(up.up)
app.command()(down.down)
app.command()(processes.api)
app.command()(processes.worker)

USAGE_KINDS = frozenset({Kind.INVALID})


def main() -> None:
    """Run a command. A failure is one line on standard error: exit 1, or 2 when the command was used wrongly.

    COPYHOLD_DEBUG=1 shows the trace as well.
    """
    try:
        app()
    except CopyholdError as error:
        if os.environ.get("COPYHOLD_DEBUG"):
            logging.getLogger("copyhold").exception("failed")
        sys.stderr.write(f"copyhold: {error.message}\n")
        sys.exit(2 if error.kind in USAGE_KINDS else 1)


if __name__ == "__main__":
    main()
