"""What an earlier supervisor left when it was killed: processes that are still ending, and files of dead ones.

Called with the platform's lock held, so whatever still runs here has no supervisor. A process counts as ours
only when it belongs to our user and has exactly a part's arguments (which name our data folder), or is
PostgreSQL working in one of our data folders. Anything else is never touched.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from cli.supervisor.part import Part
from cli.supervisor.report import Report
from control_plane.domain.errors import SetupError
from provisioning.layout import API_PROCESSES_MAX, Layout
from provisioning.providers.local import runs_postgres_in

ENDING_S = 10.0
"""The kernel told them to end when their supervisor died; this is how long that may take."""
KILLED_S = 5.0
TICK_S = 0.05


def clear(layout: Layout, parts: Sequence[Part], report: Report) -> None:
    """Return once nothing of an earlier run is left; SetupError names a process that would not end."""
    if _remaining(parts):
        report.say("waiting for what an earlier run left behind")
    _wait(parts, ENDING_S)
    for part, pid in _remaining(parts):
        number, patience_s = part.stop_with[0]
        report.say(f"stopping {part.name} of an earlier run (pid {pid})")
        _send(pid, number)
        _wait([part], patience_s)
    for _, pid in _remaining(parts):
        _send(pid, signal.SIGKILL)
    _wait(parts, KILLED_S)
    for part, pid in _remaining(parts):
        raise SetupError(f"{part.name} of an earlier run (pid {pid}) does not end; stop it and try again")
    _remove_sockets(layout)
    _forget_old_copies(layout)


def _wait(parts: Sequence[Part], seconds: float) -> None:
    until = time.monotonic() + seconds
    while _remaining(parts) and time.monotonic() < until:
        time.sleep(TICK_S)


def _remaining(parts: Sequence[Part]) -> list[tuple[Part, int]]:
    return [(part, pid) for pid in _our_processes() for part in parts if _belongs(pid, part)]


def _our_processes() -> Iterator[int]:
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and int(entry.name) != os.getpid() and _owner(entry) == os.geteuid():
            yield int(entry.name)


def _owner(entry: os.DirEntry[str]) -> int | None:
    try:
        return entry.stat().st_uid
    except FileNotFoundError:
        return None


def _belongs(pid: int, part: Part) -> bool:
    """The program's own path is left out: an upgrade may have changed it."""
    arguments = list(part.command[1:])
    return (bool(arguments) and _arguments(pid)[1:] == arguments) or runs_postgres_in(pid, part.folder)


def _arguments(pid: int) -> list[str]:
    try:
        raw = (Path("/proc") / str(pid) / "cmdline").read_bytes()
    except OSError:
        return []
    return [os.fsdecode(argument) for argument in raw.split(b"\0")[:-1]]


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _forget_old_copies(layout: Layout) -> None:
    """Of API processes that will not run: when they do again, none may start from what it knew so long ago."""
    for number in range(layout.api_processes + 1, API_PROCESSES_MAX + 1):
        layout.snapshot_of(number).unlink(missing_ok=True)


def _remove_sockets(layout: Layout) -> None:
    """Their processes are gone. A lock file left beside a socket could name a number that is another's by now."""
    for folder, pattern in (
        (layout.run, "*.ready"),
        (layout.sockets, ".s.PGSQL.*"),
        (layout.sockets, layout.redis_socket.name),
    ):
        for file in folder.glob(pattern):
            file.unlink()
