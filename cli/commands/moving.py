"""`copyhold tenant move` and `moves`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from cli import output
from cli.commands.tenant import TenantArgument
from cli.durations import parse_duration
from cli.moving import MoveShown, changes, filling, refuse_unless, shown
from cli.options import DataOption, JsonOption
from cli.waiting import leaving_it_alone, unbroken
from cli.wiring import Platform, open_platform
from control_plane.domain.errors import UsageError
from control_plane.domain.moving import Phase, Recipe
from control_plane.domain.tenant import Model
from control_plane.registry import moves as registry
from control_plane.registry import tenants
from control_plane.registry.engine import transaction
from control_plane.tenants import moving
from provisioning.commands import as_typed

LISTED = 50
ENDS = {
    "there": frozenset({Phase.KEPT, Phase.CLEANING, Phase.DONE}),
    "back": frozenset({Phase.CLEANING, Phase.DONE}),
    "cancel": frozenset({Phase.CALLED_OFF}),
}
"""The phases that whoever waits has waited for."""
Watch = Callable[[MoveShown], None]


def move(
    tenant: TenantArgument,
    to: Annotated[Model | None, typer.Option("--to", help="What it is to be housed as.", show_default=False)] = None,
    server: Annotated[str | None, typer.Option("--server", help="Where it is to live; chosen without it.")] = None,
    database: Annotated[
        str | None,
        typer.Option("--database", help="The pool or bridge it is to go into; chosen without it.", show_default=False),
    ] = None,
    undo_window: Annotated[
        str | None,
        typer.Option(
            "--undo-window",
            metavar="DURATION",
            help="How long the old home is kept; 0s: not at all; as in the settings without it.",
            show_default=False,
        ),
    ] = None,
    allow_freeze: Annotated[
        bool, typer.Option("--allow-freeze", help="Keep it waiting during the copy, where there is no other way.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what it would do and take.")] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Have it end where it began.")] = False,
    back: Annotated[bool, typer.Option("--back", help="Have the tenant back in the home that it has left.")] = False,
    settle: Annotated[bool, typer.Option("--settle", help="Give up the home that it has left; needs --yes.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="It is meant: there is no way back then.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Return once it has arrived, or at once.")] = True,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Move a tenant to another model or server while it works. Nobody notices; no request fails.

    Where its server can send no stream it is refused, and told for how long the tenant would wait; --allow-freeze has
    it copied so.

    Until it has arrived --cancel takes it back to where it was. For as long as the old home is kept, --back does, with
    all that the tenant has done since. With --json every change is an event, one a line.

    \b
    Example: copyhold tenant move globex --to silo --dry-run
    Example: copyhold tenant move globex --to silo
    Example: copyhold tenant move globex --to silo --server beta --undo-window 1d
    Example: copyhold tenant move globex --to pool --database pool_2
    Example: copyhold tenant move globex --to silo --allow-freeze
    Example: copyhold tenant move globex --back
    Example: copyhold tenant move globex --cancel
    """
    if sum((cancel, back, settle, to is not None)) != 1:
        raise UsageError("say which: --to MODEL, --cancel, --back or --settle")
    told = (server, database, undo_window)
    if to is None and (any(each is not None for each in told) or dry_run or allow_freeze):
        raise UsageError("--server, --database, --undo-window, --allow-freeze and --dry-run go with --to")
    if settle and not yes:
        raise UsageError("what the tenant has in its old home is deleted, and there is no way back: say --yes")
    asked = parse_duration(undo_window) if undo_window is not None else None
    with open_platform(data) as platform:
        window = asked if asked is not None else platform.estate.settings.limits.undo_window
        if to is not None and dry_run:
            _foretell(platform, tenant, to, server, database, window, allow_freeze=allow_freeze, as_json=as_json)
            return
        with unbroken():
            if to is not None:
                move_id = begin(platform, tenant, to, server, window, database=database, allow_freeze=allow_freeze)
            elif back:
                move_id = begin_back(platform, tenant)
            else:
                move_id = end(platform, tenant, settle=settle)
            if not (wait or as_json):
                output.note(f"it is begun; see how far it is: {looking_at_moves(tenant, data)}")
                return
            wanted = ENDS["cancel" if cancel else "back" if back else "there"]
            _follow(platform, move_id, tenant, data, wanted, as_json=as_json)


def moves(tenant: TenantArgument, data: DataOption = None, as_json: JsonOption = False) -> None:
    """List a tenant's moves, newest first.

    Example: copyhold tenant moves globex
    """
    with open_platform(data) as platform:
        found = listed(platform, tenant)
    if as_json:
        output.print_json(found)
    elif found:
        output.print_table(
            ("when", "phase", "from", "to", "recipe", "rows", "stall", "by", "kept until", "reason"),
            [
                (
                    row["created_at"],
                    row["phase"].replace("_", " "),
                    _place(row, "source"),
                    _place(row, "target"),
                    row["recipe"],
                    row["rows"],
                    output.in_time(row["stall_ms"]) if row["stall_ms"] is not None else None,
                    row["actor"],
                    row["undo_until"],
                    row["reason"],
                )
                for row in found
            ],
        )
    else:
        output.note("it has never moved")


def begin(
    platform: Platform,
    tenant: str,
    model: Model,
    server: str | None,
    window: timedelta,
    *,
    database: str | None = None,
    allow_freeze: bool = False,
) -> UUID:
    """Have the tenant move; the move's id. NotMovableError and the like, in words, when it cannot."""
    full_at = platform.estate.settings.limits.full_at
    with transaction(platform.engine) as session:
        row = tenants.find(session, tenant, lock=True)
        begun = moving.request(
            session,
            platform.workflows,
            row,
            platform.actor,
            model=model,
            server=server,
            database=database,
            undo_window=window,
            allow_freeze=allow_freeze,
            full_at=full_at,
        )
        return begun.id


def begin_back(platform: Platform, tenant: str) -> UUID:
    """Have the tenant back in the home that it left; the move's id."""
    with transaction(platform.engine) as session:
        row = tenants.find(session, tenant, lock=True)
        return moving.back(session, platform.workflows, row, platform.actor).id


def end(platform: Platform, tenant: str, *, settle: bool) -> UUID:
    """Cancel the tenant's move, or give up the home that it has left; the move's id."""
    with transaction(platform.engine) as session:
        row = tenants.find(session, tenant, lock=True)
        return (moving.settle if settle else moving.cancel)(session, row, platform.actor).id


def looking_at_moves(tenant: str, data: Path | None) -> str:
    """The command that shows how far a tenant's move is."""
    return as_typed(f"copyhold tenant moves {tenant}", data)


def listed(platform: Platform, tenant: str) -> list[MoveShown]:
    """The tenant's newest moves."""
    with transaction(platform.engine) as session:
        row = tenants.find(session, tenant)
        return [shown(session, each) for each in registry.of_tenant(session, row.id, LISTED)]


def _follow(
    platform: Platform, move_id: UUID, tenant: str, data: Path | None, wanted: frozenset[Phase], *, as_json: bool
) -> None:
    watching = _events() if as_json else _lines()
    last: MoveShown | None = None
    warned = False
    with leaving_it_alone(looking_at_moves(tenant, data)), watching as tell:
        for now, silent_s in changes(platform, move_id):
            if now != last:
                tell(now)
            elif silent_s and not warned:
                warned = True
                output.note(f"nothing has happened for {silent_s:.0f} s: is a worker running?")
            last = now
    assert last is not None
    if as_json:
        output.print_event({"event": "end", **last})
    refuse_unless(last, wanted)
    if not as_json:
        output.say(_said(tenant, last))


@contextmanager
def _events() -> Iterator[Watch]:
    yield lambda move: output.print_event({"event": "move", **move})


@contextmanager
def _lines() -> Iterator[Watch]:
    """A line a phase; between them, on a terminal, a bar of the rows that are copied."""
    phases: list[str] = []
    planned = False
    with filling("rows") as fill:

        def tell(move: MoveShown) -> None:
            nonlocal planned
            line = None
            if move["recipe"] is not None and not planned:
                planned = True
                for told in _planned(move):
                    fill(move["rows"], move["rows_total"], f"  {told}")
            if move["phase"] not in phases:
                phases.append(move["phase"])
                line = f"  {move['phase'].replace('_', ' ')}"
            fill(move["rows"], move["rows_total"], line)

        yield tell


def _planned(move: MoveShown) -> Iterator[str]:
    """What there is to tell of how it is moved; nothing of a move as they mostly are."""
    if move["expected_stall_s"] is not None and move["allow_freeze"]:
        yield f"copied under freeze: waits for about {move['expected_stall_s']:g} s"
    if move["note"]:
        yield move["note"]


def _said(tenant: str, move: MoveShown) -> str:
    phase, target = Phase(move["phase"]), move["target"]
    if phase is Phase.CALLED_OFF:
        return f"{tenant} lives where it did: its move was called off"
    if phase in {Phase.RETURNING, Phase.RETURNED} or target is None:
        return f"the move of {tenant} is {move['phase']}"
    stall = f", and waited {output.in_time(move['stall_ms'])}" if move["stall_ms"] is not None else ""
    if phase is Phase.KEPT and move["undo_until"] is not None and move["undo_until"] > datetime.now(UTC):
        kept = f"; the old home is kept until {output.in_line(move['undo_until'])}"
        return f"{tenant} lives in a {target['model']} on {target['server']}{stall}{kept}"
    if move["reason"]:
        return f"{tenant} has moved{stall}; {move['reason']}"
    return f"{tenant} has moved{stall}; the home that it has left goes"


def _place(move: MoveShown, end: str) -> str | None:
    found = move["source"] if end == "source" else move["target"]
    return f"{found['model']} {found['server']}/{found['database']}" if found else None


def _known_from(earlier: int) -> str:
    return output.counted(earlier, "earlier move") if earlier else "figures measured elsewhere"


def _foretell(
    platform: Platform,
    tenant: str,
    model: Model,
    server: str | None,
    database: str | None,
    window: timedelta,
    *,
    allow_freeze: bool,
    as_json: bool,
) -> None:
    from provisioning.moves.forecast import foretell

    window_s = round(window.total_seconds())
    told = foretell(
        platform.estate, tenant, model, server, database=database, allow_freeze=allow_freeze, window_s=window_s
    )
    facts = told.told()
    if as_json:
        output.print_json(facts)
        return
    kept = timedelta(seconds=told.plan.window_s)
    served = "served all the time" if told.plan.recipe is Recipe.STREAM else "kept waiting during the copy"
    meanwhile = "suspended all the time" if told.suspended else served
    output.print_facts(
        [
            ("tenant", told.slug),
            ("from", facts["from"]),
            ("to", facts["to"]),
            ("because", told.reason),
            ("size", f"{told.rows} rows, {told.bytes} bytes"),
            ("recipe", told.plan.recipe),
            ("takes", f"about {told.expected.seconds} s, {meanwhile}"),
            ("longest wait", f"about {output.in_time(told.stall_ms)}"),
            ("known from", _known_from(told.expected.from_moves)),
            ("old home", f"kept for {kept}" if kept else "deleted at once"),
        ]
    )
    if told.plan.note:
        output.say(told.plan.note)
    for objection in told.objections:
        output.say(f"it cannot begin: {objection}")
