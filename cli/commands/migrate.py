"""`copyhold migrate …`: the fleet's revisions, what would be done about them, and doing it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from cli import fleet, output
from cli.commands import revisions
from cli.fleet import FleetShown, ReportShown, RunDetails, RunShown
from cli.interrupts import INTERRUPTED
from cli.loading import command_group
from cli.migrating import options
from cli.migrating.following import Run, followed
from cli.options import DataOption, JsonOption
from cli.wiring import Platform, open_platform
from control_plane.domain.errors import UsageError
from control_plane.domain.ids import parse_id
from control_plane.registry.ways_back import WayBack
from migrations.fleet.events import STOPPED_BY_SOMEBODY, Report
from migrations.fleet.gate import Blocker
from migrations.fleet.plan import Plan
from migrations.fleet.wishes import AT_ONCE, FAILURES, Wishes

RUNS_SHOWN = 20

app = command_group()


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
    to: options.ToOption = "head",
    down: Annotated[bool, typer.Option("--down", help="What `migrate down` would do.")] = False,
    sql: Annotated[bool, typer.Option("--sql", help="Print the exact SQL, once a kind of target.")] = False,
    tenant: options.TenantOption = None,
    label: options.LabelOption = None,
    server: options.ServerOption = None,
    canary: options.CanaryOption = None,
    waves: options.WavesOption = options.WAVES,
    enterprise: options.EnterpriseOption = "last",
    verify: options.VerifyOption = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what `migrate up` would do, and in which waves; changes nothing.

    \b
    Example: copyhold migrate plan --sql
    Example: copyhold migrate plan --canary label:friendly --waves 5%,25%,100%
    """
    wished = options.wishes(
        to,
        down=down,
        tenants=tenant,
        labels=label,
        servers=server,
        canaries=canary,
        waves=waves,
        enterprise=enterprise,
        verify=verify,
    )
    with open_platform(data) as platform:
        _show_plan(platform, wished, sql=sql, as_json=as_json)


@app.command()
def up(
    to: options.ToOption = "head",
    tenant: options.TenantOption = None,
    label: options.LabelOption = None,
    server: options.ServerOption = None,
    canary: options.CanaryOption = None,
    waves: options.WavesOption = options.WAVES,
    enterprise: options.EnterpriseOption = "last",
    max_failures: options.FailuresOption = FAILURES,
    at_once: options.AtOnceOption = AT_ONCE,
    pause: options.PauseOption = 0,
    approve: options.ApproveOption = False,
    verify: options.VerifyOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")] = False,
    compare: Annotated[
        bool, typer.Option("--check/--no-check", help="Then hold every target against a freshly built one.")
    ] = True,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring every target to a revision, wave after wave; exit 1 if one could not be.

    The first wave is one target, or the canaries; if more of a wave fail than may, nothing else begins. What is done
    stays done: the same command again goes on with the rest. With --json, one event a line, then a summary.

    \b
    Example: copyhold migrate up
    Example: copyhold migrate up --canary label:friendly --waves 5%,25%,100% --approve
    Example: copyhold migrate up --tenant acme --to 0002
    """
    wished = options.wishes(
        to,
        tenants=tenant,
        labels=label,
        servers=server,
        canaries=canary,
        waves=waves,
        enterprise=enterprise,
        max_failures=max_failures,
        at_once=at_once,
        pause_s=pause,
        verify=verify,
    )
    with open_platform(data) as platform:
        if dry_run:
            _show_plan(platform, wished, sql=False, as_json=as_json)
        else:
            wanted = platform.chain.checked(to)
            run: Run = lambda hands: platform.fleet.run(wished, platform.actor, hands)  # noqa: E731
            report = followed(platform, run, as_json=as_json, approve=approve)
            _ended(report, wanted, as_json)
            if compare and report.run_id is not None:
                _compared(platform, wished, as_json)


@app.command()
def down(
    to: Annotated[str, typer.Option("--to", metavar="REVISION", help="An earlier one, of the tenant tables.")],
    tenant: options.TenantOption = None,
    label: options.LabelOption = None,
    server: options.ServerOption = None,
    waves: options.WavesOption = options.WAVES,
    max_failures: options.FailuresOption = FAILURES,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, only the plan is shown.")] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take revisions back, where each of them says that it can be; without --yes only the plan is shown.

    Example: copyhold migrate down --to 0001 --tenant acme --yes
    """
    wished = options.wishes(
        to, down=True, tenants=tenant, labels=label, servers=server, waves=waves, max_failures=max_failures
    )
    with open_platform(data) as platform:
        wanted = platform.chain.checked(to)
        platform.chain.compiled(platform.chain.head, wanted)
        if not yes:
            _show_plan(platform, wished, sql=False, as_json=as_json)
            output.note("nothing was done; --yes takes these back")
            return
        run: Run = lambda hands: platform.fleet.run(wished, platform.actor, hands)  # noqa: E731
        _ended(followed(platform, run, as_json=as_json), wanted, as_json)


@app.command()
def resume(
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="Without it, the newest.")] = None,
    approve: options.ApproveOption = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Go on with a run that was stopped, interrupted or killed, from where its targets really are.

    Example: copyhold migrate resume
    """
    _go_on(run, failed_only=False, approve=approve, data=data, as_json=as_json)


@app.command()
def retry(
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="Without it, the newest.")] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Try again what failed in a run, and nothing else.

    Example: copyhold migrate retry 01932c07-a0de-7cc2-a6f4-5cc4f0d8e1b2
    """
    _go_on(run, failed_only=True, approve=False, data=data, as_json=as_json)


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


def _compared(platform: Platform, wished: Wishes, as_json: bool) -> None:
    """Exit 1 when a target is not what a freshly built one of its revision is."""
    from cli.migrating.check import told

    if told(platform, lambda target: target.meets_all(wished.only), as_json=as_json):
        raise typer.Exit(1)


def _go_on(run: str | None, *, failed_only: bool, approve: bool, data: Path | None, as_json: bool) -> None:
    with open_platform(data) as platform:
        run_id = _meant(platform, run)
        wanted = fleet.run_details(platform, run_id)["to_revision"]
        going: Run = lambda hands: platform.fleet.resume(run_id, platform.actor, hands, failed_only=failed_only)  # noqa: E731
        _ended(followed(platform, going, as_json=as_json, approve=approve), wanted, as_json)


def _meant(platform: Platform, run: str | None) -> UUID:
    if run is None:
        if (newest := fleet.newest_unfinished(platform)) is None:
            raise UsageError("the newest run has ended well; name another to go on with it")
        return newest
    if (run_id := parse_id(run)) is None:
        raise UsageError(f"{run!r} is not a run's id; `copyhold migrate history` shows them")
    return run_id


def _show_plan(platform: Platform, wished: Wishes, *, sql: bool, as_json: bool) -> None:
    work = platform.fleet.plan(wished)
    blockers, lost = platform.fleet.blockers(wished, work.steps), platform.fleet.ways_back_lost(work.steps)
    script = "\n".join(fleet.sql_of(work, platform.chain)) if sql else None
    if as_json:
        output.print_json({**fleet.plan_shown(work, blockers, lost), **({"sql": script} if sql else {})})
    elif script is not None:
        output.say(script or "-- nothing to do")
    else:
        _print_plan(work, blockers, lost)


def _ended(report: Report, wanted: str, as_json: bool) -> None:
    shown = fleet.report_shown(report, wanted)
    if as_json:
        output.print_event({"event": "summary", **shown})
    else:
        _print_report(shown)
    if report.reason == STOPPED_BY_SOMEBODY:
        raise typer.Exit(INTERRUPTED)
    if report.failed or report.reason:
        raise typer.Exit(1)


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


def _print_plan(work: Plan, blockers: list[Blocker], lost: list[WayBack]) -> None:
    if work.steps:
        output.print_table(
            ("wave", "chain", "server", "model", "from", "to", "targets"),
            [(*kind, count) for kind, count in fleet.by_wave(work).items()],
        )
        output.say()
    for blocker in blockers:
        output.say(f"in the way: {blocker}")
    for way in lost:
        until = f" until {output.in_line(way.until)}" if way.until is not None else ""
        output.say(f"{way.slug} has moved, and can be had back{until}: not once its homes are migrated")
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
    if shown["reason"]:
        output.note(f"stopped: {shown['reason']}; {output.counted(shown['not_started'], 'target')} not started")
    for failure in shown["failed"]:
        place = f"{failure['server']} / {failure['database']} / {failure['schema']}"
        stays = f"stays at {failure['revision']}" if failure["revision"] else "was not seen"
        output.note(f"{place} {stays}: {failure['error']}")
    if shown["failed"]:
        output.note(f"see it again: copyhold migrate history --run {shown['run_id']}")
    if shown["failed"] or shown["not_started"]:
        output.note("go on with: copyhold migrate resume")


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
            ("reason", run["reason"]),
            ("code", run["code_version"]),
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


@app.command()
def check(
    tenant: options.TenantOption = None,
    server: options.ServerOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Hold every target against a freshly built one of its revision; exit 1 when anything differs.

    Names the table, column, index, policy or grant that differs, and where. With --json, one finding a line.

    \b
    Example: copyhold migrate check
    Example: copyhold migrate check --tenant acme --json
    """
    from cli.migrating.check import check as checked

    checked(data, only_tenants=tenant or (), only_servers=server or (), as_json=as_json)


app.command()(revisions.lint)
app.command()(revisions.new)
