"""`copyhold migrate lint`: the revisions of the app's chain, looked at before any target sees them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from cli.output import counted, in_line
from control_plane.domain.errors import UsageError
from migrations.fleet.chains import Chain
from migrations.lint.judge import Finding, Report, judge
from migrations.lint.subject import subject
from provisioning.doctor.revisions import watch
from provisioning.providers.throwaway import throwaway_server


def chosen(chain: Chain, revisions: Sequence[str], since: str | None) -> tuple[str, ...]:
    """The revisions named, or those after `since`, or all; UnknownRevisionError for one that is not there."""
    if revisions and since is not None:
        raise UsageError("name revisions, or --since one: not both")
    if since is not None:
        return chain.revisions[len(chain.up_to(chain.checked(since))) :]
    wanted = {chain.checked(revision) for revision in revisions} or set(chain.revisions)
    return tuple(revision for revision in chain.revisions if revision in wanted)


def lint(chain: Chain, wanted: Sequence[str], *, static: bool) -> Report:
    """What is found in the `wanted` revisions; unless `static`, by trying them on a PostgreSQL of a few seconds.

    ProviderError where there are no programs of PostgreSQL to start one with.
    """
    if not wanted:
        return Report(revisions=(), findings=(), accepted=())
    subjects = [subject(chain, revision) for revision in chain.up_to(wanted[-1])]
    asked = [each for each in subjects if each.name in wanted]
    if static:
        return judge(asked)
    with throwaway_server() as server:
        return judge(asked, watch(server, chain, subjects, wanted))


def as_data(report: Report, *, static: bool) -> dict[str, Any]:
    """The report for programs."""
    return {
        "static": static,
        "errors": report.errors,
        "warnings": report.warnings,
        "revisions": list(report.revisions),
        "findings": [asdict(finding) for finding in report.findings],
        "accepted": [asdict(finding) for finding in report.accepted],
    }


def as_lines(report: Report, *, static: bool) -> Iterator[str]:
    """The report for a person."""
    for finding in report.findings:
        yield from _block(finding)
        yield ""
    for finding in report.accepted:
        yield f"accepted  {finding.rule}  {finding.file}: {in_line(finding.accepted)}"
    how = "by their text alone" if static else "on a PostgreSQL of their own"
    yield (
        f"looked at {counted(len(report.revisions), 'revision')} {how}: "
        f"{counted(report.errors, 'error')}, {counted(report.warnings, 'warning')}"
    )


def _block(finding: Finding) -> Iterator[str]:
    yield f"{finding.severity}  {finding.rule}  {finding.file}"
    if finding.where:
        yield f"  {in_line(finding.where)}"
    yield f"  {in_line(finding.what)}"
    yield f"  → {in_line(finding.remedy)}"
