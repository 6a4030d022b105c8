"""`copyhold doctor`: is everything as it must be?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING, Any

import typer

from cli.options import DataOption, JsonOption
from cli.output import counted, in_line, in_time, print_json, say

if TYPE_CHECKING:
    from provisioning.doctor.findings import Finding, Report

SHOWN = 20
"""Places of one check that a person is shown; --json has all."""
REMEDIES_SHOWN = 3


def doctor(data: DataOption = None, as_json: JsonOption = False) -> None:
    """Look at parts, versions, roles, policies, drift and orphans; change nothing.

    Exit 1 when there is an error, 0 when there are warnings alone. Statements in remedies are meant for a direct
    connection: roles and databases as postgres, all else as copyhold_migrator after SET ROLE copyhold_owner.

    Example: copyhold doctor --data .copyhold
    """
    from cli.wiring import open_platform
    from provisioning.doctor.examine import examine

    with open_platform(data) as platform:
        report = examine(platform.estate)
    if as_json:
        print_json(_as_data(report))
    else:
        for line in _lines(report):
            say(line)
    if report.errors:
        raise typer.Exit(1)


def _as_data(report: Report) -> dict[str, Any]:
    return {
        "errors": report.errors,
        "warnings": report.warnings,
        "looked_at": asdict(report.looked_at),
        "duration_ms": report.duration_ms,
        "findings": [asdict(finding) for finding in report.findings],
    }


def _lines(report: Report) -> Iterator[str]:
    for _, group in groupby(report.findings, key=lambda finding: finding.check):
        yield from _block(list(group))
        yield ""
    seen = report.looked_at
    yield (
        f"looked at {counted(seen.servers, 'server')}, {counted(seen.databases, 'database')}, "
        f"{counted(seen.tables, 'table')}, {counted(seen.tenants, 'tenant')} in {in_time(report.duration_ms)}"
    )
    yield f"{counted(report.errors, 'error')}, {counted(report.warnings, 'warning')}"


def _block(findings: Sequence[Finding]) -> Iterator[str]:
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


def _place(finding: Finding) -> str:
    where = "/".join(in_line(part) for part in (finding.server, finding.database) if part)
    return "  ".join(part for part in (where, in_line(finding.object) if finding.object else "") if part) or "-"
