"""`copyhold tenant close`, `export` and `exports`."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, TypedDict
from uuid import UUID

import typer

from cli import following, output
from cli.commands.tenant import STEPS, TenantArgument, follow
from cli.durations import parse_duration
from cli.options import DataOption, JsonOption
from cli.showing import tenant_shown
from cli.waiting import leaving_it_alone, unbroken
from cli.wiring import Platform, open_platform
from control_plane.domain.errors import UsageError
from control_plane.registry import exports as registry
from control_plane.registry import tenants
from control_plane.registry.engine import transaction
from control_plane.registry.tables import ExportRow
from control_plane.registry.workflows import EXPORT
from control_plane.tenants import closing, exporting
from control_plane.tenants.closing import AT_ONCE, GRACE
from provisioning.commands import as_typed
from provisioning.exports import manifest

EXPORT_WAIT_S = 24 * 3600.0
LISTED = 50


class ExportShown(TypedDict):
    """An export. `sha256` is its manifest's; what is not known until it is done is null."""

    id: str
    state: str
    path: str | None
    rows: int | None
    bytes: int | None
    sha256: str | None
    error: str | None
    actor: str
    created_at: datetime
    ended_at: datetime | None


def close(
    tenant: TenantArgument,
    grace: Annotated[
        str | None,
        typer.Option("--grace", metavar="DURATION", help="How long it can be had back.", show_default="30d"),
    ] = None,
    now: Annotated[bool, typer.Option("--now", help="Erase it at once; needs --yes.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="It is meant: what is erased cannot be had back.")] = False,
    no_export: Annotated[bool, typer.Option("--no-export", help="Erase it without a last export.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Have it back, as it was.")] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Close a tenant: refused everywhere at once; when its grace has passed, exported for the last time and erased.

    Until then --undo has it back, and the same command with another --grace sets another. Its slug stays taken.

    \b
    Example: copyhold tenant close globex
    Example: copyhold tenant close globex --grace 7d --no-export
    Example: copyhold tenant close globex --undo
    Example: copyhold tenant close globex --now --yes
    """
    if undo and (grace is not None or now or no_export or yes):
        raise UsageError("--undo goes with no other choice")
    wanted = _grace(grace, now=now, yes=yes)
    with open_platform(data) as platform, unbroken():
        if undo:
            workflow_id = begin_reopening(platform, tenant)
        else:
            workflow_id = begin_closing(platform, tenant, wanted, export=not no_export)
        follow(platform, tenant, workflow_id, data, quiet=as_json)
        shown = tenant_shown(platform, tenant)
        last = listed(platform, tenant)[:1] if shown["closed_at"] else []
    if as_json:
        output.print_json(shown)
        return
    output.say(_said(shown["slug"], shown["status"], shown["closes_at"]))
    for export in last:
        if export["state"] == registry.DONE:
            output.say(f"its last export: {export['path']}")


def export(
    tenant: Annotated[str | None, typer.Argument(metavar="TENANT", help="Its slug or id.", show_default=False)] = None,
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="DIR", help="A folder, as the worker sees it.", show_default="DATA/exports"),
    ] = None,
    verify: Annotated[
        Path | None, typer.Option("--verify", metavar="DIR", help="Write nothing: hold an export against its sums.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Return once it is written, or at once.")] = True,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write out all that a tenant has: a folder with a file of JSON lines a table, and a manifest with their sums.

    \b
    Example: copyhold tenant export globex
    Example: copyhold tenant export globex --to /srv/handover
    Example: copyhold tenant export --verify /srv/handover/globex-20270131-01a2…
    """
    if verify is not None:
        if tenant is not None or to is not None:
            raise UsageError("--verify takes an export's folder and nothing else")
        _print_verified(manifest.verify(verify), as_json)
        return
    if tenant is None:
        raise UsageError("say which tenant, or --verify DIR")
    with open_platform(data) as platform, unbroken():
        export_id, workflow_id = begin_export(platform, tenant, to.expanduser().absolute() if to else None)
        if wait:
            _follow_export(platform, tenant, workflow_id, data, quiet=as_json)
        shown = shown_export(platform, export_id)
    if as_json:
        output.print_json(shown)
    else:
        _print_export(shown)
        if not wait:
            output.note(f"it is being written; see how far it is: copyhold tenant exports {tenant}")


def exports(tenant: TenantArgument, data: DataOption = None, as_json: JsonOption = False) -> None:
    """List a tenant's exports, newest first.

    Example: copyhold tenant exports globex
    """
    with open_platform(data) as platform:
        found = listed(platform, tenant)
    if as_json:
        output.print_json(found)
    elif found:
        output.print_table(
            ("when", "state", "rows", "bytes", "by", "path or reason"),
            [
                (row["created_at"], row["state"], row["rows"], row["bytes"], row["actor"], row["error"] or row["path"])
                for row in found
            ],
        )
    else:
        output.note("no exports")


def begin_closing(platform: Platform, tenant: str, grace: timedelta, *, export: bool) -> str:
    """Close the tenant by its route; the id of the workflow by which its home refuses it, or by which it is erased."""
    with transaction(platform.engine) as session:
        row = tenants.find(session, tenant, lock=True)
        closing.close(session, platform.workflows, row, platform.actor, grace=grace, export=export)
        return row.workflow_id or ""


def begin_reopening(platform: Platform, tenant: str) -> str:
    """Have a closing tenant back; the id of the workflow that does it."""
    with transaction(platform.engine) as session:
        row = tenants.find(session, tenant, lock=True)
        closing.reopen(session, platform.workflows, row, platform.actor)
        return row.workflow_id or ""


def begin_export(platform: Platform, tenant: str, to: Path | None) -> tuple[UUID, str]:
    """Have a tenant written out; the ids of the export and of the workflow that does it."""
    with transaction(platform.engine) as session:
        row = tenants.find(session, tenant, lock=True)
        made, workflow_id = exporting.request(session, platform.workflows, platform.settings, row, platform.actor, to)
        return made.id, workflow_id


def listed(platform: Platform, tenant: str) -> list[ExportShown]:
    """The tenant's newest exports, newest first."""
    with transaction(platform.engine) as session:
        row = tenants.find(session, tenant)
        return [_shown(each) for each in registry.of_tenant(session, row.id, LISTED)]


def shown_export(platform: Platform, export_id: UUID) -> ExportShown:
    """One export."""
    with transaction(platform.engine) as session:
        return _shown(registry.get(session, export_id))


def _grace(text: str | None, *, now: bool, yes: bool) -> timedelta:
    if now and text is not None:
        raise UsageError("--now has no grace: leave --grace away")
    grace = AT_ONCE if now else GRACE if text is None else parse_duration(text)
    if not grace and not now:
        raise UsageError("without a grace it is erased at once: say so with --now --yes")
    if now and not yes:
        raise UsageError("what is erased cannot be had back: say --yes as well if that is meant")
    return grace


def _said(slug: str, status: str, closes_at: datetime | None) -> str:
    if status == "closing" and closes_at is not None:
        return (
            f"{slug} is closed, and erased at {output.in_line(closes_at)};"
            f" until then `copyhold tenant close {slug} --undo` has it back"
        )
    return f"{slug} is erased; its slug stays taken" if status == "closed" else f"{slug} is {status}"


def _follow_export(platform: Platform, tenant: str, workflow_id: str, data: Path | None, *, quiet: bool) -> None:
    with transaction(platform.engine) as session:
        tenant_id = tenants.find(session, tenant).id
    with leaving_it_alone(as_typed(f"copyhold tenant exports {tenant}", data)):
        following.follow(
            platform,
            tenant_id,
            workflow_id,
            STEPS[EXPORT],
            lambda _: None,
            lambda _: None if quiet else output.note("it is being written; a large one takes its time"),
            wait_s=EXPORT_WAIT_S,
        )


def _shown(row: ExportRow) -> ExportShown:
    return ExportShown(
        id=str(row.id),
        state=row.state,
        path=row.path,
        rows=row.rows,
        bytes=row.bytes,
        sha256=row.sha256,
        error=row.error,
        actor=row.actor,
        created_at=row.created_at,
        ended_at=row.ended_at,
    )


def _print_export(export: ExportShown) -> None:
    output.print_facts(
        (
            ("folder", export["path"]),
            ("state", export["state"]),
            ("rows", export["rows"]),
            ("bytes", export["bytes"]),
            ("manifest", export["sha256"]),
        )
    )


def _print_verified(found: manifest.Summary, as_json: bool) -> None:
    facts = {
        "export": found.export,
        "tenant": found.tenant["slug"],
        "model": found.model,
        "revision": found.revision,
        "created_at": found.created_at,
        "rows": found.rows,
        "bytes": found.bytes,
        "sha256": found.sha256,
        "left_out": list(found.left_out),
    }
    if as_json:
        output.print_json({**facts, "files": [vars(file) for file in found.files]})
    else:
        output.print_facts(list(facts.items()))
        output.say("it is whole")
