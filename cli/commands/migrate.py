"""`copyhold migrate …`: the fleet's revisions, what would be done about them, and doing it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from cli import fleet, output
from cli.fleet import FleetShown, ReportShown, RunDetails, RunShown
from cli.loading import command_group
from cli.options import DataOption, JsonOption
from cli.wiring import Platform, open_platform
from control_plane.domain.errors import UsageError
from control_plane.domain.ids import parse_id
from migrations.fleet.plan import Plan
from migrations.fleet.run import Outcome, Report

INTERRUPTED = 130
"""What shells say of a command that ctrl-C ended."""
RUNS_SHOWN = 20

app = command_group()

ToOption = Annotated[str, typer.Option("--to", metavar="REVISION", help="Of the tenant tables.")]


@app.command()
def status(data: DataOption = None, as_json: JsonOption = False) -> None:
    """Show which revisions the fleet is at. The home chain is each database's `tenancy` schema.

    Example: copyhold migrate status
    """
    with open_platform(data) as platform:
        shown = fleet.fleet_shown(platform)
    if as_json:
        output.print_json(shown)
    else:
        _print_fleet(shown)


@app.command()
def plan(
    to: ToOption = "head",
    sql: Annotated[bool, typer.Option("--sql", help="Print the exact SQL, once a kind of target.")] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what `migrate up` would do; changes nothing.

    Example: copyhold migrate plan --sql
    """
    with open_platform(data) as platform:
        work = platform.fleet.plan(to)
        script = "\n".join(fleet.sql_of(work, platform.chain)) if sql else None
    if as_json:
        output.print_json({**fleet.plan_shown(work), **({"sql": script} if sql else {})})
    elif script is not None:
        output.say(script or "-- nothing to do")
    else:
        _print_plan(work)


@app.command()
def up(to: ToOption = "head", data: DataOption = None, as_json: JsonOption = False) -> None:
    """Bring every target to a revision; exit 1 if one could not be.

    A target that fails does not stop the others, and what is done stays done: the same command again goes on with the
    rest. With --json, one event a line, then a summary.

    Example: copyhold migrate up
    """
    with open_platform(data) as platform:
        wanted = platform.chain.checked(to)
        try:
            report = migrated(platform, wanted, quiet=as_json)
        except KeyboardInterrupt as error:
            output.note("interrupted; what is done stays done, and `copyhold migrate up` goes on with the rest")
            raise typer.Exit(INTERRUPTED) from error
    shown = fleet.report_shown(report, wanted)
    if as_json:
        output.print_event({"event": "summary", **shown})
    else:
        _print_report(shown)
    if report.failed:
        raise typer.Exit(1)


@app.command()
def history(
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many at most.")] = RUNS_SHOWN,
    run: Annotated[str | None, typer.Option("--run", metavar="ID", help="One run, with what failed in it.")] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """List past runs, newest first.

    \b
    Example: copyhold migrate history --limit 5
    Example: copyhold migrate history --run 01932c07-a0de-7cc2-a6f4-5cc4f0d8e1b2
    """
    with open_platform(data) as platform:
        if run is None:
            _print_runs(fleet.history(platform, limit), as_json)
        elif (run_id := parse_id(run)) is None:
            raise UsageError(f"{run!r} is not a run's id; `copyhold migrate history` shows them")
        else:
            _print_run(fleet.run_details(platform, run_id), as_json)


def migrated(platform: Platform, to: str, *, quiet: bool) -> Report:
    """Bring the fleet to `to`, telling each outcome: as events when `quiet`, else as progress."""
    total = len(platform.fleet.plan(to).steps)
    with output.progress("migrating", total, quiet=quiet, counting=True) as tell:
        return platform.fleet.run(to, platform.actor, _event if quiet else _line(tell))


def _event(outcome: Outcome, _: int) -> None:
    output.print_event(fleet.outcome_shown(outcome))


def _line(tell: output.Tell) -> Callable[[Outcome, int], None]:
    def on_outcome(outcome: Outcome, _: int) -> None:
        target = outcome.step.target
        place = f"{target.server} / {target.database} / {target.schema}"
        tell(f"failed: {place}: {outcome.error}" if outcome.error else None)

    return on_outcome


def _print_fleet(shown: FleetShown) -> None:
    output.print_table(
        ("chain", "model", "revision", "targets", ""),
        [(row["chain"], row["model"], row["revision"], row["targets"], row["state"]) for row in shown["targets"]],
    )
    output.say()
    for chain, newest in shown["newest"].items():
        output.say(f"{chain}: the newest revision is {newest}; new homes are built at {shown['new_homes'][chain]}")
    if shown["behind"]:
        output.say(f"{output.counted(shown['behind'], 'target')} behind: `copyhold migrate up` brings them along")
    for target in shown["ahead"]:
        place = f"{target['server']} / {target['database']} / {target['schema']}"
        output.say(f"ahead of this version: {place} is at {target['revision']}")


def _print_plan(work: Plan) -> None:
    if work.steps:
        output.print_table(
            ("chain", "server", "database", "from", "to", "targets"),
            [(*kind, count) for kind, count in fleet.by_database(work.steps).items()],
        )
        output.say()
    output.say(f"{output.counted(len(work.steps), 'target')} to migrate, {work.there_already} there already")
    _print_ahead(len(work.ahead))


def _print_report(shown: ReportShown) -> None:
    if shown["run_id"] is None:
        output.say(f"nothing to do: {output.counted(shown['there_already'], 'target')} there already")
    else:
        took = output.in_time(shown["duration_ms"])
        output.say(
            f"{shown['done']} done, {len(shown['failed'])} failed, {shown['there_already']} there already, in {took}"
        )
    _print_ahead(len(shown["ahead"]))
    for failure in shown["failed"]:
        place = f"{failure['server']} / {failure['database']} / {failure['schema']}"
        output.note(f"{place} stays at {failure['from_revision']}: {failure['error']}")
    if shown["failed"]:
        output.note(f"see it again: copyhold migrate history --run {shown['run_id']}")


def _print_ahead(count: int) -> None:
    if count:
        output.say(f"{output.counted(count, 'target')} past that revision, left alone")


def _print_runs(runs: list[RunShown], as_json: bool) -> None:
    if as_json:
        output.print_json(runs)
    elif runs:
        output.print_table(
            ("id", "started", "by", "to", "state", "targets"),
            [
                (run["id"], run["started_at"], run["actor"], run["to_revision"], run["state"], _states(run))
                for run in runs
            ],
        )
    else:
        output.note("no runs so far")


def _print_run(run: RunDetails, as_json: bool) -> None:
    if as_json:
        output.print_json(run)
        return
    output.print_facts(
        (
            ("id", run["id"]),
            ("to", run["to_revision"]),
            ("by", run["actor"]),
            ("state", run["state"]),
            ("started", run["started_at"]),
            ("ended", run["ended_at"]),
            ("targets", _states(run)),
        )
    )
    if run["failed"]:
        output.say()
        output.print_table(
            ("chain", "database", "schema", "from", "to", "error"),
            [
                (row["chain"], row["database"], row["schema"], row["from_revision"], row["to_revision"], row["error"])
                for row in run["failed"]
            ],
        )


def _states(run: RunShown | RunDetails) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(run["targets"].items()))
