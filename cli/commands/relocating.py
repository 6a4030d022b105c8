"""`copyhold server drain` and `rebalance`: many tenants moved, a few at a time."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from cli import output
from cli.durations import parse_duration
from cli.options import DataOption, JsonOption
from cli.relocating import RunShown, follow, outlook_shown, print_outlook, run_shown
from cli.waiting import GaveUpError, leaving_it_alone, unbroken
from cli.wiring import Platform, open_platform
from control_plane.domain.errors import UsageError
from control_plane.domain.server import ServerStatus
from control_plane.registry import move_runs, servers
from control_plane.registry.engine import transaction
from control_plane.registry.move_runs import CANCELLED, DRAIN
from control_plane.tenants import relocating
from control_plane.tenants.joining import LOCAL
from control_plane.tenants.relocating import Outlook, Pace
from provisioning.commands import as_typed
from provisioning.measuring import measure_all

STAYS_NAMED = 5
ServerArgument = Annotated[str, typer.Argument(metavar="NAME", help="The server's name.", show_default=False)]
AtOnceOption = Annotated[
    int | None,
    typer.Option("--at-once", metavar="N", help="How many moves a server has at once.", show_default="2"),
]
WindowOption = Annotated[
    str | None,
    typer.Option(
        "--undo-window",
        metavar="DURATION",
        help="How long the old homes are kept; 0s: not at all; as in the settings without it.",
        show_default=False,
    ),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only tell who would go where, and how long it takes.")]
CancelOption = Annotated[bool, typer.Option("--cancel", help="Begin no more moves.")]
CallOffOption = Annotated[bool, typer.Option("--call-off", help="With --cancel: those under way end where they began.")]
FreezeOption = Annotated[
    bool,
    typer.Option("--allow-freeze", help="Off a server that can send no stream, tenants wait while they are copied."),
]
WaitOption = Annotated[bool, typer.Option("--wait/--no-wait", help="Return once all have moved, or at once.")]


def drain(
    name: ServerArgument,
    stay: Annotated[bool, typer.Option("--stay", help="Move nobody: only put no new tenants there.")] = False,
    at_once: AtOnceOption = None,
    undo_window: WindowOption = None,
    allow_freeze: FreezeOption = False,
    dry_run: DryRunOption = False,
    cancel: CancelOption = False,
    call_off: CallOffOption = False,
    wait: WaitOption = True,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put no new tenants on a server, and move everybody away who lives there, while they work.

    Each stays in the model that it is in, and goes where a new tenant like it would go. Workers do it: whoever stops
    waiting stops nothing, and the same command again follows it. With --cancel the server takes tenants again; who has
    moved away stays there. With --json every change is an event, one a line.

    \b
    Example: copyhold server drain beta --dry-run
    Example: copyhold server drain beta
    Example: copyhold server drain beta --at-once 4 --undo-window 0s
    Example: copyhold server drain beta --cancel --call-off
    """
    _refuse_mixed(cancel=cancel, call_off=call_off, others=stay or dry_run)
    window = parse_duration(undo_window) if undo_window is not None else None
    with open_platform(data) as platform:
        pace = _pace(platform, at_once, window, allow_freeze=allow_freeze)
        if dry_run:
            _print_plan(foreseen_drain(platform, name), pace, as_json=as_json)
        elif cancel:
            _print_called_off(
                end_drain(platform, name, call_off=call_off), f"{name} takes new tenants", as_json=as_json
            )
        elif stay:
            changed = stop_taking(platform, name)
            _print_stopped(name, changed=changed, as_json=as_json)
        else:
            with unbroken():
                _see_through(platform, begin_drain(platform, name, pace), data, wait=wait, as_json=as_json)


def rebalance(
    limit: Annotated[int | None, typer.Option("--max", metavar="N", help="Move so many tenants at most.")] = None,
    at_once: AtOnceOption = None,
    undo_window: WindowOption = None,
    allow_freeze: FreezeOption = False,
    dry_run: DryRunOption = False,
    cancel: CancelOption = False,
    call_off: CallOffOption = False,
    wait: WaitOption = True,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Move some tenants from servers that are used much to such that are not: as few as do.

    It begins when two servers that could have each other's tenants differ by more than a fifth, of what they take of
    tenants, bytes or connections, and ends at a tenth. Where tenants may live is never touched by it.

    \b
    Example: copyhold server rebalance --dry-run
    Example: copyhold server rebalance --max 10
    """
    _refuse_mixed(cancel=cancel, call_off=call_off, others=dry_run or limit is not None)
    window = parse_duration(undo_window) if undo_window is not None else None
    with open_platform(data) as platform:
        pace = _pace(platform, at_once, window, allow_freeze=allow_freeze)
        if cancel:
            _print_called_off(end_rebalance(platform, call_off=call_off), "no more are moved", as_json=as_json)
            return
        for server, reason in measure_all(platform.estate).items():
            output.note(f"{server} could not be measured: {reason}")
        if dry_run:
            _print_plan(foreseen_rebalance(platform, limit), pace, as_json=as_json)
            return
        with unbroken():
            run_id = begin_rebalance(platform, pace, limit)
            if run_id is not None:
                _see_through(platform, run_id, data, wait=wait, as_json=as_json)
            elif as_json:
                output.print_event({"event": "end", "state": move_runs.DONE, "moved": 0})
            else:
                output.say("servers are used evenly: nobody moves")


def foreseen_drain(platform: Platform, name: str) -> Outlook:
    """Who would go where; changes nothing. NotFoundError for an unknown server."""
    with transaction(platform.engine) as session:
        return relocating.foresee_drain(session, name, platform.settings.limits.full_at)


def foreseen_rebalance(platform: Platform, limit: int | None = None) -> Outlook:
    """Who would go where; changes nothing."""
    with transaction(platform.engine) as session:
        return relocating.foresee_rebalance(session, platform.settings.limits.full_at, limit)


def begin_drain(platform: Platform, name: str, pace: Pace) -> UUID:
    """Have everybody moved off a server; the run's id, also when it was begun before."""
    with transaction(platform.engine) as session:
        return relocating.drain(session, platform.workflows, name, platform.actor, pace).id


def begin_rebalance(platform: Platform, pace: Pace, limit: int | None = None) -> UUID | None:
    """Have servers used evenly; the run's id, also when it was begun before, or None when they nearly are."""
    full_at = platform.settings.limits.full_at
    with transaction(platform.engine) as session:
        run = relocating.rebalance(session, platform.actor, pace, full_at, limit)
        return run.id if run is not None else None


def end_drain(platform: Platform, name: str, *, call_off: bool) -> list[str]:
    """Have a server take tenants again; the slugs of those whose moves are called off."""
    with transaction(platform.engine) as session:
        return relocating.cancel_drain(session, platform.workflows, name, platform.actor, call_off=call_off)


def end_rebalance(platform: Platform, *, call_off: bool) -> list[str]:
    """Begin no more moves; the slugs of those whose moves are called off."""
    with transaction(platform.engine) as session:
        return relocating.cancel_rebalance(session, platform.actor, call_off=call_off)


def stop_taking(platform: Platform, name: str) -> bool:
    """Whether the server took tenants before; NotFoundError when there is none of that name."""
    with transaction(platform.engine) as session:
        return relocating.stop_taking(session, platform.workflows, name, platform.actor)


def take_again(platform: Platform, name: str) -> bool:
    """Whether the server took no tenants before; NotFoundError when there is none of that name."""
    with transaction(platform.engine) as session:
        return relocating.take_again(session, platform.workflows, name, platform.actor)


def _see_through(platform: Platform, run_id: UUID, data: Path | None, *, wait: bool, as_json: bool) -> None:
    with transaction(platform.engine) as session:
        run = run_shown(session, move_runs.get(session, run_id))
    again = _command(run, data)
    if as_json:
        output.print_event({"event": "run", **run})
    if not wait:
        output.note(f"it is begun; to follow it: {again}")
        return
    with leaving_it_alone(again):
        run = follow(platform, run_id, as_json=as_json)
    if run["state"] == CANCELLED:
        raise GaveUpError(f"cancelled, {run['moved']} have moved{': ' + run['reason'] if run['reason'] else ''}")
    if run["stays"]:
        raise GaveUpError(f"{run['moved']} have moved; {_who_stays(run)}; once that is put right: {again}")
    if not as_json:
        output.say(_said(platform, run, again))


def _said(platform: Platform, run: RunShown, again: str) -> str:
    if run["kind"] != DRAIN or run["server"] is None:
        return _evened_out(platform, run["moved"], again)
    with transaction(platform.engine) as session:
        is_local = servers.server_named(session, run["server"]).provider == LOCAL
    removal = "" if is_local else f"; `copyhold server remove {run['server']}` is possible"
    if not run["kept"]:
        return f"{run['server']} is empty{removal}"
    kept = f"{output.counted(run['kept'], 'old home')} there will be gone when the time to go back is over"
    return f"nobody lives on {run['server']} any more; {kept}{removal and removal + ' then'}"


def _evened_out(platform: Platform, moved: int, again: str) -> str:
    # By the sizes that were measured when it began. `--max` may have ended it before all was even.
    more = len(foreseen_rebalance(platform).journeys)
    if not more:
        return f"{output.counted(moved, 'tenant')} moved: servers are used evenly"
    return f"{output.counted(moved, 'tenant')} moved, {more} more would even servers out: {again}"


def _who_stays(run: RunShown) -> str:
    named = "; ".join(f"{each['tenant']} stays: {each['reason']}" for each in run["stays"][:STAYS_NAMED])
    more = len(run["stays"]) - STAYS_NAMED
    return named + (f"; and {more} more" if more > 0 else "")


def _command(run: RunShown, data: Path | None) -> str:
    words = f"copyhold server drain {run['server']}" if run["kind"] == DRAIN else "copyhold server rebalance"
    words += " --allow-freeze" if run["allow_freeze"] else ""
    return as_typed(words, data)


def _pace(platform: Platform, at_once: int | None, window: timedelta | None, *, allow_freeze: bool) -> Pace:
    limits = platform.settings.limits
    pace = Pace(
        at_once=limits.moves_at_once if at_once is None else at_once,
        undo_window=limits.undo_window if window is None else window,
        allow_freeze=allow_freeze,
    )
    pace.check()
    return pace


def _refuse_mixed(*, cancel: bool, call_off: bool, others: bool) -> None:
    if call_off and not cancel:
        raise UsageError("--call-off goes with --cancel")
    if cancel and others:
        raise UsageError("--cancel goes with --call-off and nothing else")


def _print_plan(outlook: Outlook, pace: Pace, *, as_json: bool) -> None:
    found = outlook_shown(outlook, pace.at_once)
    if as_json:
        output.print_json(found)
    else:
        print_outlook(found)


def _print_called_off(slugs: list[str], meaning: str, *, as_json: bool) -> None:
    if as_json:
        output.print_json({"called_off": slugs})
    else:
        output.say(meaning + (f"; called off: {', '.join(slugs)}" if slugs else ""))


def _print_stopped(name: str, *, changed: bool, as_json: bool) -> None:
    if as_json:
        output.print_json({"name": name, "status": str(ServerStatus.DRAINING)})
    else:
        output.say(f"{name} is draining" + (": it takes no new tenants" if changed else " already"))
