"""Where a tenant would live, told without making it."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

from cli import output
from cli.wiring import Platform, open_platform
from control_plane.domain.placement import NoServerError, Verdict
from control_plane.registry import placing
from control_plane.registry.engine import transaction
from control_plane.tenants.service import TenantWish, placement_of


class PlacementShown(TypedDict):
    """What would be chosen, and what speaks against each server; nothing does against one that fits."""

    server: str | None
    reason: str
    objections: dict[str, list[str]]


def tell(data: Path | None, wish: TenantWish, *, as_json: bool) -> None:
    """Print where it would live now and why; NoServerError, after that, when no server can take it."""
    with open_platform(data) as platform:
        verdict = considered(platform, wish)
    shown = placement_shown(verdict, wish)
    if as_json:
        output.print_json(shown)
    elif verdict.choice is not None:
        output.say(f"{shown['server']}: {shown['reason']}")
        for name, objections in shown["objections"].items():
            output.say(f"  {name} {', '.join(objections) or 'fits'}")
    if verdict.choice is None:
        raise NoServerError(shown["reason"])


def considered(platform: Platform, wish: TenantWish) -> Verdict:
    """What would be chosen now; UnknownServerError and wrong labels are refused as when it is made."""
    with transaction(platform.engine) as session:
        return placing.verdict(session, placement_of(wish), platform.settings.limits.full_at)


def placement_shown(verdict: Verdict, wish: TenantWish) -> PlacementShown:
    """The verdict as data."""
    return PlacementShown(
        server=verdict.choice.server.name if verdict.choice else None,
        reason=verdict.choice.reason if verdict.choice else verdict.refusal(wish.model),
        objections={name: list(said) for name, said in verdict.objections.items()},
    )
