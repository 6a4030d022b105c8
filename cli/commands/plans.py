"""`copyhold tenant plan`: what a tenant pays for, and the home that goes with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli import output
from cli.commands.moving import looking_at_moves
from cli.commands.tenant import TenantArgument
from cli.options import DataOption, JsonOption
from cli.showing import tenant_shown
from cli.wiring import Platform, open_platform
from control_plane import entitlements
from control_plane.domain.tenant import Plan
from control_plane.entitlements import PlanOutcome
from control_plane.registry import tenants
from control_plane.registry.engine import transaction


def plan(
    tenant: TenantArgument,
    plan: Annotated[Plan, typer.Argument(metavar="PLAN", help="What it is to pay for.", show_default=False)],
    move: Annotated[
        bool | None,
        typer.Option(
            "--move/--no-move",
            help="Move it to what the plan means, even if that is less than it has; or leave it where it is.",
            show_default="if the plan promises more than it has",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would come of it.")] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a tenant on a plan. If the plan promises a better home than it has, it is moved there while it works.

    Which plan means which model is in COPYHOLD_PLAN_MODELS. The tenant stays on the plan if it cannot be moved; the
    same command tries again.

    \b
    Example: copyhold tenant plan globex enterprise --dry-run
    Example: copyhold tenant plan globex enterprise
    Example: copyhold tenant plan globex starter --move
    """
    with open_platform(data) as platform:
        found = (foresee_plan if dry_run else put_on_plan)(platform, tenant, plan, move=move)
        shown = tenant_shown(platform, tenant)
    if as_json:
        facts = {"changed": found.changed, "to": found.model, "server": found.server, "move_id": found.move_id}
        output.print_json({**shown, "outcome": {**facts, "objection": found.objection, "dry_run": dry_run}})
    elif dry_run:
        _print_foreseen(shown["slug"], plan, found)
    else:
        _print_done(shown["slug"], plan, found, data)


def put_on_plan(platform: Platform, tenant: str, plan: Plan, *, move: bool | None = None) -> PlanOutcome:
    """Change the plan, and have what follows from it done; see `entitlements.put_on_plan`."""
    rules = entitlements.rules_of(platform.settings)
    with transaction(platform.engine) as session:
        row = tenants.find(session, tenant, lock=True)
        return entitlements.put_on_plan(session, platform.workflows, row, plan, platform.actor, rules, move=move)


def foresee_plan(platform: Platform, tenant: str, plan: Plan, *, move: bool | None = None) -> PlanOutcome:
    """What would come of that now; changes nothing."""
    rules = entitlements.rules_of(platform.settings)
    with transaction(platform.engine) as session:
        row = tenants.find(session, tenant, lock=True)
        return entitlements.foresee_plan(session, platform.workflows, row, plan, platform.actor, rules, move=move)


def _print_foreseen(slug: str, plan: Plan, found: PlanOutcome) -> None:
    output.say(f"{slug} would be on {plan}" if found.changed else f"{slug} is on {plan} already")
    if found.model is None:
        output.say("it would stay where it is")
    elif found.objection is not None:
        output.say(f"it would not be moved to a {found.model}: {found.objection}")
    else:
        output.say(f"it would be moved to a {found.model} on {found.server}")


def _print_done(slug: str, plan: Plan, found: PlanOutcome, data: Path | None) -> None:
    output.say(f"{slug} is on {plan}" + ("" if found.changed else " already"))
    if found.move_id is not None:
        looking = looking_at_moves(slug, data)
        output.say(f"it moves to a {found.model} on {found.server}; to see how far it is: {looking}")
    elif found.objection is not None:
        output.note(f"it is not moved to a {found.model}: {found.objection}")
