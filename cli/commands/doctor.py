"""`copyhold doctor`: is everything as it must be?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import repairing
from cli.options import DataOption, JsonOption
from cli.output import counted, in_line, in_time, print_json, say
from cli.wiring import Platform, open_platform
from control_plane.domain.errors import UsageError

if TYPE_CHECKING:
    from provisioning.doctor.findings import Finding
    from provisioning.repair.repairing import Diagnosis

SHOWN = 20
"""Places of one check that a person is shown; --json has all."""
REMEDIES_SHOWN = 3
BY_REPAIR = {
    "safe": "copyhold doctor --repair mends it",
    "dangerous": "copyhold doctor --repair --yes mends it; see first what goes: --dry-run",
    "held": "copyhold doctor --repair could mend it, and does not now: --dry-run says why",
}
"""What is said of findings by how they can be mended."""


def doctor(
    data: DataOption = None,
    as_json: JsonOption = False,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what can be mended.")] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="With --repair: also what drops data or lets somebody in.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --repair: say what would be done.")] = False,
) -> None:
    """Look at parts, versions, roles, policies, drift and orphans; change nothing, unless told to --repair.

    Exit 1 when there is an error, 0 when there are warnings alone; with --repair 1 as well when something that could be
    repaired was not. Statements in remedies are meant for a direct connection: roles and databases as postgres, all
    else as copyhold_migrator after SET ROLE copyhold_owner.

    Example: copyhold doctor --repair --dry-run --data .copyhold
    """
    if (yes or dry_run) and not repair:
        raise UsageError("--yes and --dry-run go with --repair")
    with open_platform(data) as platform:
        well = _repair(platform, yes=yes, dry_run=dry_run, as_json=as_json) if repair else _look(platform, as_json)
    if not well:
        raise typer.Exit(1)


def _look(platform: Platform, as_json: bool) -> bool:
    """Whether there is no error."""
    from provisioning.repair.repairing import diagnose

    diagnosis = diagnose(platform.estate, platform.workflows)
    if as_json:
        print_json(_as_data(diagnosis))
    else:
        for line in _lines(diagnosis):
            say(line)
    return not diagnosis.report.errors


def _repair(platform: Platform, *, yes: bool, dry_run: bool, as_json: bool) -> bool:
    """Whether all is well afterwards."""
    from provisioning.repair.carry_out import Tools
    from provisioning.repair.repairing import diagnose
    from provisioning.repair.repairing import repair as carry_out

    before = diagnose(platform.estate, platform.workflows)
    if dry_run:
        _show_planned(before, as_json)
        return before.well
    tools = Tools(estate=platform.estate, workflows=platform.workflows, actor=platform.actor)
    outcomes = []
    for outcome in carry_out(tools, before.repairs, yes=yes):
        outcomes.append(outcome)
        if not as_json:
            say(repairing.told(outcome))
    after = diagnose(platform.estate, platform.workflows) if before.repairs else before
    if as_json:
        print_json(_as_data(after) | {"repairs": repairing.outcomes_as_data(outcomes)})
    else:
        say(repairing.summary(outcomes))
        say()
        for line in _lines(after):
            say(line)
    return after.well


def _show_planned(diagnosis: Diagnosis, as_json: bool) -> None:
    if as_json:
        print_json(_as_data(diagnosis))
        return
    for each in diagnosis.repairs:
        for line in repairing.planned(each):
            say(line)
    say(f"{counted(len(diagnosis.repairs), 'repair')} planned; nothing was changed")
    say()
    for line in _lines(diagnosis):
        say(line)


def _as_data(diagnosis: Diagnosis) -> dict[str, Any]:
    report = diagnosis.report
    return {
        "errors": report.errors,
        "warnings": report.warnings,
        "looked_at": asdict(report.looked_at),
        "duration_ms": report.duration_ms,
        "findings": [asdict(finding) | {"repair": _repairable(diagnosis, finding)} for finding in report.findings],
        "repairs": [repairing.as_data(each) for each in diagnosis.repairs],
    }


def _repairable(diagnosis: Diagnosis, finding: Finding) -> str | None:
    """safe, dangerous (only with --yes), held (not now), or None for what --repair cannot mend."""
    repair = diagnosis.repair_of(finding)
    if repair is None:
        return None
    return "held" if repair.held is not None else "dangerous" if repair.dangerous else "safe"


def _lines(diagnosis: Diagnosis) -> Iterator[str]:
    report = diagnosis.report
    for _, group in groupby(report.findings, key=lambda finding: finding.check):
        yield from _block(diagnosis, list(group))
        yield ""
    seen = report.looked_at
    yield (
        f"looked at {counted(seen.servers, 'server')}, {counted(seen.databases, 'database')}, "
        f"{counted(seen.tables, 'table')}, {counted(seen.tenants, 'tenant')} in {in_time(report.duration_ms)}"
    )
    if diagnosis.repairs:
        yield f"{counted(len(diagnosis.repairs), 'repair')} possible: copyhold doctor --repair --dry-run says which"
    yield f"{counted(report.errors, 'error')}, {counted(report.warnings, 'warning')}"


def _block(diagnosis: Diagnosis, findings: Sequence[Finding]) -> Iterator[str]:
    """One check: its places, each with what is wrong there, and what to do."""
    yield f"{findings[0].severity}  {findings[0].check}"
    places = [_place(finding) for finding in findings[:SHOWN]]
    width = max(map(len, places))
    for place, finding in zip(places, findings, strict=False):
        yield f"  {place:<{width}}  {in_line(finding.what)}"
    if len(findings) > SHOWN:
        yield f"  and {len(findings) - SHOWN} more: --json lists them"
    remedies = list(dict.fromkeys(finding.remedy for finding in findings))
    for remedy in remedies[:REMEDIES_SHOWN]:
        yield f"  → {in_line(remedy)}"
    if len(remedies) > REMEDIES_SHOWN:
        yield "  → and likewise for the others"
    ways = {_repairable(diagnosis, finding) for finding in findings}
    for way, words in BY_REPAIR.items():
        if way in ways:
            yield f"  → {words}"


def _place(finding: Finding) -> str:
    where = "/".join(in_line(part) for part in (finding.server, finding.database) if part)
    return "  ".join(part for part in (where, in_line(finding.object) if finding.object else "") if part) or "-"
