"""`copyhold migrate check`: is every target what its revision says? Told to a person or to a program."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from uuid import UUID

import typer

from cli import output
from cli.wiring import Platform, open_platform
from control_plane.domain.errors import NotFoundError
from control_plane.registry import servers, tenants
from control_plane.registry.engine import transaction
from migrations.fleet import drift
from migrations.fleet.chains import HOME
from migrations.fleet.drift import Finding, Report
from migrations.fleet.plan import Target

PLACES_SHOWN = 20
"""Places of one finding that a person is shown; --json has all."""


def check(
    data: Path | None, *, only_tenants: Sequence[str] = (), only_servers: Sequence[str] = (), as_json: bool = False
) -> None:
    """Print what differs, then how much was looked at. typer.Exit(1) when anything does.

    With tenants (slugs or ids) or servers, at their targets and those databases' tenancy schemas alone. NotFoundError
    for one that there is not, or a tenant without a home.
    """
    with open_platform(data) as platform:
        differs = told(platform, _meant(platform, only_tenants, only_servers), as_json=as_json)
    if differs:
        raise typer.Exit(1)


def told(platform: Platform, is_meant: Callable[[Target], bool], *, as_json: bool) -> bool:
    """Look at the targets that are meant and print what was found; whether anything differs."""
    report = checked(platform, is_meant, quiet=as_json)
    if as_json:
        for finding in report.findings:
            output.print_event({"event": "finding", **asdict(finding)})
        output.print_event({"event": "checked", **_counts(report)})
    else:
        for line in _lines(report):
            output.say(line)
    return bool(report.findings)


def checked(platform: Platform, is_meant: Callable[[Target], bool], *, quiet: bool) -> Report:
    """Look, telling how far it is unless `quiet`."""

    def targets() -> list[Target]:
        return [target for target in platform.fleet.targets() if is_meant(target)]

    total = len({(target.server, target.database) for target in targets()})
    with output.progress("checking", total, quiet=quiet, counting=True) as tell:
        return drift.check(
            platform.engine,
            platform.chain,
            platform.estate.references,
            targets,
            lambda _server, _database: tell(None),
        )


def _meant(platform: Platform, only_tenants: Sequence[str], only_servers: Sequence[str]) -> Callable[[Target], bool]:
    with transaction(platform.engine) as session:
        for name in only_servers:
            servers.server_named(session, name)
        homes: set[tuple[UUID, str]] = set()
        for text in only_tenants:
            tenant = tenants.find(session, text)
            home = tenants.current_home(session, tenant.id)
            if home is None:
                raise NotFoundError(f"{tenant.slug} has no home", tenant=tenant.slug)
            homes |= {(home.database_id, home.schema), (home.database_id, str(HOME.version_schema))}

    def is_meant(target: Target) -> bool:
        lives_there = not homes or (target.database_id, target.schema) in homes
        return lives_there and (not only_servers or target.server in only_servers)

    return is_meant


def _counts(report: Report) -> dict[str, int]:
    return {
        "findings": len(report.findings),
        "targets": report.targets,
        "databases": report.databases,
        "duration_ms": report.duration_ms,
    }


def _lines(report: Report) -> Iterator[str]:
    """The same finding once, with all its places."""
    for what, group in groupby(sorted(report.findings, key=_what), key=_what):
        yield from _block(what, list(group))
        yield ""
    yield (
        f"{output.counted(len(report.findings), 'finding')}: looked at {output.counted(report.targets, 'target')} in "
        f"{output.counted(report.databases, 'database')}, in {output.in_time(report.duration_ms)}"
    )


def _what(finding: Finding) -> tuple[str, str, str, str, str]:
    facts = (finding.kind, finding.object, finding.difference, finding.expected, finding.found)
    kind, name, difference, expected, found = (fact or "" for fact in facts)
    return kind, name, difference, expected, found


def _block(what: tuple[str, str, str, str, str], findings: Sequence[Finding]) -> Iterator[str]:
    kind, name, difference, expected, found = map(output.in_line, what)
    yield f"{' '.join(part for part in (kind, name) if part != '-')}: {difference}"
    if what[3]:
        yield f"  expected  {expected}"
    if what[4]:
        yield f"  found     {found}"
    for finding in findings[:PLACES_SHOWN]:
        places = (finding.server, finding.database, finding.schema)
        yield f"  in {' / '.join(output.in_line(place) for place in places if place is not None)}"
    if len(findings) > PLACES_SHOWN:
        yield f"  and {len(findings) - PLACES_SHOWN} more: --json lists them"
