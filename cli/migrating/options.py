"""The options by which runs over the fleet are chosen."""

from __future__ import annotations

from typing import Annotated

import typer

from control_plane.domain.errors import UsageError
from migrations.fleet.wishes import AT_ONCE, FAILURES, Chosen, Wishes

ToOption = Annotated[str, typer.Option("--to", metavar="REVISION", help="Of the tenant tables.")]
TenantOption = Annotated[
    list[str] | None,
    typer.Option("--tenant", metavar="T", help="Only where T lives (in a pool: with all others there). Repeatable."),
]
LabelOption = Annotated[
    list[str] | None, typer.Option("--label", metavar="L", help="Only tenants with this label. Repeatable.")
]
ServerOption = Annotated[
    list[str] | None, typer.Option("--server", metavar="S", help="Only on this server. Repeatable.")
]
CanaryOption = Annotated[
    list[str] | None,
    typer.Option(
        "--canary",
        metavar="WHO",
        help="In a wave before all others: a slug, a database, label:L or plan:P. Repeatable.",
    ),
]
WavesOption = Annotated[
    str, typer.Option("--waves", metavar="1,5%,100%", help="How far each wave goes: numbers or shares of the fleet.")
]
EnterpriseOption = Annotated[
    str, typer.Option("--enterprise", metavar="first|last|mixed", help="Where enterprise silos go.")
]
FailuresOption = Annotated[
    str, typer.Option("--max-failures", metavar="N|N%", help="More than these in a wave stop the run.")
]
AtOnceOption = Annotated[int, typer.Option("--at-once", min=1, max=64, help="Targets at once on one server.")]
PauseOption = Annotated[float, typer.Option("--pause", min=0, metavar="SECONDS", help="Wait between waves.")]
ApproveOption = Annotated[bool, typer.Option("--approve", help="Ask before each wave but the first.")]
VerifyOption = Annotated[
    bool, typer.Option("--verify", help="Ask every database where its targets are; do not believe the ledger.")
]

WAVES = "1,100%"


def wishes(
    to: str,
    *,
    down: bool = False,
    tenants: list[str] | None = None,
    labels: list[str] | None = None,
    servers: list[str] | None = None,
    canaries: list[str] | None = None,
    waves: str = WAVES,
    enterprise: str = "last",
    max_failures: str = FAILURES,
    at_once: int = AT_ONCE,
    pause_s: float = 0.0,
    verify: bool = False,
) -> Wishes:
    """What these options say; an error of usage when they make no sense."""
    return Wishes(
        to=to,
        down=down,
        only=Chosen(names=tuple(tenants or ()), labels=tuple(labels or ()), servers=tuple(servers or ())),
        canaries=_canaries(canaries or []),
        waves=tuple(wave.strip() for wave in waves.split(",")),
        enterprise=enterprise,
        max_failures=max_failures,
        at_once=at_once,
        pause_s=pause_s,
        verify=verify,
    ).checked()


def _canaries(who: list[str]) -> Chosen:
    found: dict[str, list[str]] = {"names": [], "labels": [], "plans": []}
    for each in who:
        kind, colon, name = each.partition(":")
        if not colon:
            found["names"].append(each)
        elif kind in {"label", "plan"}:
            found[f"{kind}s"].append(name)
        else:
            raise UsageError(f"a canary is a slug, a database, label:L or plan:P, not {each!r}")
    return Chosen(names=tuple(found["names"]), labels=tuple(found["labels"]), plans=tuple(found["plans"]))
