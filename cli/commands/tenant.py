"""`copyhold tenant …`: making tenants, looking at them, suspending them and letting them in again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from cli import following, onboarding, output, placements
from cli.loading import command_group
from cli.options import DataOption, JsonOption
from cli.showing import TenantInList, TenantShown, home_in_line, in_list, tenant_shown, workflow_in_line
from cli.waiting import leaving_it_alone, unbroken
from cli.wiring import Platform, open_platform
from control_plane.domain.errors import UsageError
from control_plane.domain.tenant import Model, Plan, Status
from control_plane.emails import checked_email
from control_plane.registry import tenants
from control_plane.registry.engine import transaction
from control_plane.registry.tables import ProgressRow, TenantRow
from control_plane.tenants import retrying, rotating, service
from control_plane.tenants.labels import change_labels, checked_label
from control_plane.tenants.service import OwnerWish, TenantWish
from provisioning import steps
from provisioning.commands import as_typed

STEPS = {kind: len(sequence) for kind, sequence in steps.SEQUENCES.items()}

app = command_group()

TenantArgument = Annotated[str, typer.Argument(metavar="TENANT", help="Its slug or id.", show_default=False)]


@app.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The company's name.", show_default=False)],
    plan: Annotated[Plan, typer.Option("--plan", help="What it pays for.", show_default=False)],
    model: Annotated[Model, typer.Option("--model", help="How it is housed.", show_default=False)],
    slug: Annotated[str | None, typer.Option("--slug", help="Its host's name; made from NAME without it.")] = None,
    server: Annotated[str | None, typer.Option("--server", help="Where it is to live; chosen without it.")] = None,
    region: Annotated[str | None, typer.Option("--region", help="Only servers of this region.")] = None,
    email: Annotated[str | None, typer.Option("--email", help="Its owner, who is given a link to sign in.")] = None,
    label: Annotated[list[str] | None, typer.Option("--label", help="To choose it by; may be repeated.")] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Return once it is ready, or at once.")] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell where it would live, and why.")] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a tenant and its home.

    The same command again goes on with a tenant whose making failed or still goes on. A tenant labelled on-LABEL goes
    only to servers that have LABEL, one labelled apart-GROUP to none that holds another with that label.

    \b
    Example: copyhold tenant create "Globex & Co" --plan professional --model bridge
    Example: copyhold tenant create Initech --plan enterprise --model silo --email it@initech.example
    """
    wish = TenantWish(
        slug=onboarding.slug_for(name, slug),
        name=name,
        plan=plan,
        model=model,
        server=server,
        region=region,
        owner=owner_of(email) if email else None,
        labels=tuple(label or ()),
    )
    if dry_run:
        placements.tell(data, wish, as_json=as_json)
        return
    started = time.monotonic()
    with open_platform(data) as platform, unbroken():
        begun = onboarding.begin(platform, wish)
        if wait:
            follow(platform, begun.slug, begun.workflow_id, data, quiet=as_json)
        seconds = time.monotonic() - started
        shown, link = tenant_shown(platform, begun.slug), onboarding.sign_in_link(platform, begun)
    if as_json:
        output.print_json({**shown, "seconds": round(seconds, 3), "sign_in_link": link})
    else:
        _print_made(shown, seconds, link)
        if not wait:
            output.note(f"it is being made; see how far it is: {_show_command(begun.slug, data)}")


@app.command("list")
def list_(
    status: Annotated[Status | None, typer.Option("--status", help="Only those.")] = None,
    search: Annotated[str | None, typer.Option("--search", metavar="TEXT", help="In slug or name.")] = None,
    label: Annotated[str | None, typer.Option("--label", help="Only those that have it.")] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """List tenants, oldest first.

    \b
    Example: copyhold tenant list --status active --search glob
    Example: copyhold tenant list --label canary
    """
    with open_platform(data) as platform:
        found = listed(platform, status, search, label)
    if as_json:
        output.print_json(found)
    elif found:
        output.print_table(
            ("slug", "name", "model", "plan", "status", "labels", "id"),
            [
                (row["slug"], row["name"], row["model"], row["plan"], row["status"], row["labels"], row["id"])
                for row in found
            ],
        )
    else:
        output.note("no tenants" if status is None and search is None and label is None else "no such tenants")


@app.command()
def show(
    tenant: TenantArgument,
    watch: Annotated[
        bool, typer.Option("--watch", help="First wait until what is being done to it is done, showing each step.")
    ] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one tenant: who it is, where it lives, how it is.

    Example: copyhold tenant show globex
    """
    with open_platform(data) as platform:
        if watch and (workflow_id := newest_workflow(platform, tenant)):
            follow(platform, tenant, workflow_id, data, quiet=as_json)
        shown = tenant_shown(platform, tenant)
    if as_json:
        output.print_json(shown)
    else:
        _print_shown(shown)


@app.command()
def label(
    tenant: TenantArgument,
    add: Annotated[list[str] | None, typer.Option("--add", metavar="LABEL", help="May be repeated.")] = None,
    remove: Annotated[list[str] | None, typer.Option("--remove", metavar="LABEL", help="May be repeated.")] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add labels to a tenant and remove others. `migrate up` and `tenant list` choose tenants by them.

    A label is 1 to 40 small letters, digits and hyphens; a tenant has 20 at most.

    \b
    Example: copyhold tenant label globex --add canary
    Example: copyhold tenant label globex --add early --add eu --remove canary
    """
    if not add and not remove:
        raise UsageError("say which: --add LABEL, --remove LABEL")
    with open_platform(data) as platform:
        put_labels(platform, tenant, add or [], remove or [])
        shown = tenant_shown(platform, tenant)
    if as_json:
        output.print_json(shown)
    else:
        has = f"is labelled {', '.join(shown['labels'])}" if shown["labels"] else "has no labels"
        output.say(f"{shown['slug']} {has}")


@app.command()
def suspend(tenant: TenantArgument, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Refuse a tenant everywhere until it is resumed. Nothing of it is lost.

    Returns once its home itself refuses it.

    Example: copyhold tenant suspend globex
    """
    with open_platform(data) as platform, unbroken():
        workflow_id = begin_suspending(platform, tenant)
        follow(platform, tenant, workflow_id, data, quiet=as_json)
        _print_done(tenant_shown(platform, tenant), as_json)


@app.command()
def resume(tenant: TenantArgument, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Let a suspended tenant in again; returns once it is served.

    Example: copyhold tenant resume globex
    """
    with open_platform(data) as platform, unbroken():
        workflow_id = begin_resuming(platform, tenant)
        follow(platform, tenant, workflow_id, data, quiet=as_json)
        _print_done(tenant_shown(platform, tenant), as_json)


@app.command()
def rotate(
    tenant: TenantArgument,
    yes: Annotated[
        bool, typer.Option("--yes", help="Even if other tenants live in its database: their login changes too.")
    ] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change the login by which the app reaches a tenant's database. No request fails; the old login is gone then.

    It is one login a database: that of all tenants of a pool, or of a bridge.

    \b
    Example: copyhold tenant rotate initech
    Example: copyhold tenant rotate acme --yes
    """
    with open_platform(data) as platform, unbroken():
        workflow_id = begin_rotating(platform, tenant, shared=yes)
        follow(platform, tenant, workflow_id, data, quiet=as_json)
        shown = tenant_shown(platform, tenant)
    if as_json:
        output.print_json(shown)
    elif home := shown["home"]:
        output.say(f"{home['database']} is reached by a new login; the old one is gone")


@app.command()
def retry(tenant: TenantArgument, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Go on with what failed for a tenant: its making, its suspending, …; returns once that is done.

    Example: copyhold tenant retry globex
    """
    with open_platform(data) as platform, unbroken():
        workflow_id = begin_again(platform, tenant)
        follow(platform, tenant, workflow_id, data, quiet=as_json)
        _print_done(tenant_shown(platform, tenant), as_json)


def owner_of(email: str) -> OwnerWish:
    """An owner without a password, named like the address; EmailError when no mail could be sent there."""
    address = checked_email(email)
    return OwnerWish(email=address, name=address.partition("@")[0])


def listed(
    platform: Platform, status: Status | None, search: str | None, label: str | None = None
) -> list[TenantInList]:
    """Every tenant of that status, with that label, whose slug or name holds `search`, oldest first."""
    wanted = checked_label(label) if label is not None else None
    with transaction(platform.engine) as session:
        return [in_list(row) for row in tenants.search(session, search, status, wanted)]


def put_labels(platform: Platform, tenant: str, add: Sequence[str], remove: Sequence[str]) -> bool:
    """Whether that changed the tenant's labels; LabelError and the like, in words, when it cannot."""
    with transaction(platform.engine) as session:
        row = tenants.find(session, tenant, lock=True)
        return change_labels(session, row, add=add, remove=remove, actor=platform.actor)


def newest_workflow(platform: Platform, tenant: str) -> str | None:
    """The id of what was last started for the tenant."""
    with transaction(platform.engine) as session:
        return tenants.find(session, tenant).workflow_id


def begin_suspending(platform: Platform, tenant: str) -> str:
    """Suspend the tenant by its route, and have its home refuse it; the id of the workflow that does."""
    with transaction(platform.engine) as session:
        row = tenants.find(session, tenant, lock=True)
        service.suspend(session, platform.workflows, row, platform.actor)
        return _workflow_of(row)


def begin_resuming(platform: Platform, tenant: str) -> str:
    """Have a suspended tenant let in again; the id of the workflow that does it."""
    with transaction(platform.engine) as session:
        row = tenants.find(session, tenant, lock=True)
        service.resume(session, platform.workflows, row, platform.actor)
        return _workflow_of(row)


def begin_rotating(platform: Platform, tenant: str, *, shared: bool) -> str:
    """Have the login of the tenant's database change; the id of the workflow that does it."""
    with transaction(platform.engine) as session:
        row = tenants.find(session, tenant, lock=True)
        return rotating.rotate(session, platform.workflows, row, platform.actor, shared=shared)


def begin_again(platform: Platform, tenant: str) -> str:
    """Start anew what failed for the tenant; the new workflow's id. NothingToRetryError when nothing did."""
    with transaction(platform.engine) as session:
        row = tenants.find(session, tenant, lock=True)
        return retrying.retry(session, platform.workflows, row, platform.actor)


def follow(platform: Platform, tenant: str, workflow_id: str, data: Path | None, *, quiet: bool) -> None:
    """Wait for the workflow, showing each step as it is done. GaveUpError with the reason when it fails."""
    kind = workflow_id.partition("/")[0]
    with transaction(platform.engine) as session:
        tenant_id = tenants.find(session, tenant).id
    with leaving_it_alone(_show_command(tenant, data)), output.progress(kind, STEPS[kind], quiet=quiet) as tell:

        def on_step(row: ProgressRow) -> None:
            tell(f"  {row.step.replace('_', ' '):<16}{output.in_time(row.duration_ms):>9}")

        def on_silence(seconds: float) -> None:
            output.note(f"nothing has happened for {seconds:.0f} s: is a worker running?")

        following.follow(platform, tenant_id, workflow_id, STEPS[kind], on_step, on_silence)


def _workflow_of(row: TenantRow) -> str:
    assert row.workflow_id is not None
    return row.workflow_id


def _show_command(tenant: str, data: Path | None) -> str:
    return as_typed(f"copyhold tenant show {tenant} --watch", data)


def _print_made(tenant: TenantShown, seconds: float, link: str | None) -> None:
    facts: list[tuple[str, object]] = [("id", tenant["id"]), ("url", tenant["url"])]
    if tenant["home"]:
        facts.append(("home", home_in_line(tenant["home"])))
        facts.append(("because", tenant["home"]["reason"]))
    facts.append((tenant["status"], f"after {output.in_time(seconds * 1000)}"))
    output.print_facts(facts)
    if link:
        output.say(f"\nThe owner signs in here, once, within {onboarding.TICKET_LIFE_S // 60} minutes:\n{link}")


def _print_shown(tenant: TenantShown) -> None:
    facts: list[tuple[str, object]] = [
        ("name", tenant["name"]),
        ("slug", tenant["slug"]),
        ("id", tenant["id"]),
        ("status", tenant["status"]),
        ("plan", tenant["plan"]),
        ("model", tenant["model"]),
        ("labels", tenant["labels"]),
        ("home", home_in_line(tenant["home"]) if tenant["home"] else None),
        ("because", tenant["home"]["reason"] if tenant["home"] else None),
        ("epoch", tenant["epoch"]),
        ("revision", tenant["revision"]),
        ("keys", tenant["keys"]),
        ("url", tenant["url"]),
        ("created", tenant["created_at"]),
        ("activated", tenant["activated_at"]),
        *([("misplaced", tenant["misplaced"])] if tenant["misplaced"] else []),
        ("workflow", workflow_in_line(tenant["workflow"]) if tenant["workflow"] else None),
    ]
    if tenant["closes_at"]:
        facts.append(("erased at", tenant["closes_at"]))
    if tenant["failure"]:
        facts.append(("failure", tenant["failure"]))
    output.print_facts(facts)


def _print_done(tenant: TenantShown, as_json: bool) -> None:
    if as_json:
        output.print_json(tenant)
    else:
        output.say(f"{tenant['slug']} is {tenant['status']}")
