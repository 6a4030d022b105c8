"""`copyhold migrate lint` and `new`: the app's revisions, before any target sees them. Neither needs a platform."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import output
from cli.options import DataOption, JsonOption


def lint(
    revision: Annotated[list[str] | None, typer.Argument(metavar="REVISION", help="Default: all.")] = None,
    since: Annotated[str | None, typer.Option("--since", metavar="REVISION", help="Only those after it.")] = None,
    static: Annotated[
        bool, typer.Option("--static", help="Read them alone: where there is no PostgreSQL to try them on.")
    ] = False,
    _data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look for what would hurt in revisions of the tenant tables; exit 1 for an error, 0 for warnings alone.

    They are tried, one after the other, on a PostgreSQL that is started for it and thrown away: what each one locks,
    reads, rewrites and leaves behind is what counts. No platform is looked at. A rule may be accepted in the revision:
    accepted = {"its-name": "why it is right here"}.

    \b
    Example: copyhold migrate lint
    Example: copyhold migrate lint --since 0002 --json
    """
    from cli.migrating.chain import app_chain
    from cli.migrating.lint import as_data, as_lines, chosen
    from cli.migrating.lint import lint as linted

    chain = app_chain()
    report = linted(chain, chosen(chain, revision or (), since), static=static)
    if as_json:
        output.print_json(as_data(report, static=static))
    else:
        for line in as_lines(report, static=static):
            output.say(line)
    if report.errors:
        raise typer.Exit(1)


def new(
    message: Annotated[str, typer.Option("--message", "-m", metavar="TEXT", help="Its headline.")],
    concurrently: Annotated[
        bool, typer.Option("--concurrently", help="An index on a table that is in use; nobody waits for it.")
    ] = False,
    python: Annotated[bool, typer.Option("--python", help="Rows changed in small steps, over a connection.")] = False,
    _data: DataOption = None,
) -> None:
    """Write the next revision of the tenant tables and print its path; `copyhold migrate lint` says what is left to do.

    \b
    Example: copyhold migrate new -m "add a colour to labels"
    Example: copyhold migrate new -m "index messages by author" --concurrently
    """
    from cli.migrating.chain import app_chain
    from cli.migrating.new import new_revision

    path = new_revision(app_chain(), message, concurrently=concurrently, python=python)
    output.say(str(path))
    output.note("fill it in; `copyhold migrate lint` says what is left; then add it to the app's `revisions`")
