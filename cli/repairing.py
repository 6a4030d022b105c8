"""Showing what `copyhold doctor --repair` does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from cli.output import counted, in_line

if TYPE_CHECKING:
    from provisioning.repair.repairing import Outcome
    from provisioning.repair.repairs import Repair


def planned(repair: Repair) -> Iterator[str]:
    """What would be done, and why not where it would not."""
    yield f"would  {repair.kind}{_place(repair)}: {in_line(repair.do)}"
    yield f"       because: {in_line(repair.what)}"
    if repair.held is not None:
        yield f"       not now: {in_line(repair.held)}"
    elif repair.dangerous:
        yield "       only with --yes: data goes, or somebody is let in"


def told(outcome: Outcome) -> str:
    """What became of one."""
    repair = outcome.repair
    if outcome.left is None:
        return f"done   {repair.kind}{_place(repair)}: {in_line(repair.do)}"
    return f"left   {repair.kind}{_place(repair)}: {in_line(repair.what)}: {in_line(outcome.left)}"


def summary(outcomes: Sequence[Outcome]) -> str:
    """How many were done."""
    done = sum(outcome.left is None for outcome in outcomes)
    return f"{counted(done, 'repair')} done, {len(outcomes) - done} left"


def as_data(repair: Repair) -> dict[str, Any]:
    """One repair, for programs."""
    return {
        "kind": str(repair.kind),
        "server": repair.server,
        "database": repair.database,
        "object": repair.object,
        "what": repair.what,
        "do": repair.do,
        "dangerous": repair.dangerous,
        "held": repair.held,
    }


def outcomes_as_data(outcomes: Iterable[Outcome]) -> list[dict[str, Any]]:
    """What became of each, for programs."""
    return [{**as_data(outcome.repair), "done": outcome.left is None, "left": outcome.left} for outcome in outcomes]


def _place(repair: Repair) -> str:
    where = "/".join(in_line(part) for part in (repair.server, repair.database) if part)
    parts = [part for part in (where, in_line(repair.object) if repair.object else "") if part]
    return "".join("  " + part for part in parts)
