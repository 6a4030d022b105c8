"""`copyhold down` without the command line: asks the running supervisor to stop, and waits until it has."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cli.supervisor.lock import Holder, holder_of
from cli.supervisor.privileges import drop_to_owner
from control_plane.domain.errors import SetupError, UnavailableError
from provisioning.layout import ForeignFolderError, Layout, NoPlatformError

EXIT_S = 5.0
"""For the supervisor itself to end, after all of its parts have."""
PATIENCE_S = 150.0
"""More than all parts together may take to stop."""
TICK_S = 0.05


def stop(data: Path, say: Callable[[str], None]) -> None:
    """Return once the platform in `data` is stopped, at once when it does not run."""
    drop_to_owner(data)
    try:
        lock = Layout.open(data).lock
    except NoPlatformError:
        say(f"not running: there is no platform in {data}")
        return
    holder = holder_of(lock)
    if holder is None:
        say(f"not running: {data}")
        return
    say(f"stopping the platform in {data} (pid {holder.pid})")
    _ask(holder)
    _wait(lock, holder, say)
    _wait_for_exit(holder.pid)
    say("stopped")


def _ask(holder: Holder) -> None:
    if holder.pid <= 0:  # how the kernel names a process in another container
        raise SetupError("the platform runs in another container; stop it there")
    try:
        os.kill(holder.pid, signal.SIGTERM)
    except ProcessLookupError:
        return  # it ended in this moment
    except PermissionError as error:
        raise ForeignFolderError(f"process {holder.pid} belongs to somebody else; stop it as its owner") from error


def _wait(lock: Path, holder: Holder, say: Callable[[str], None]) -> None:
    until, told = time.monotonic() + PATIENCE_S, ""
    while (now := holder_of(lock)) is not None and now.pid == holder.pid:
        if now.doing.startswith("stopping") and now.doing != told:
            told = now.doing
            say(f"  {told}")
        if time.monotonic() > until:
            raise UnavailableError(f"still {now.doing or 'running'} after {PATIENCE_S:.0f} s (pid {now.pid})")
        time.sleep(TICK_S)


def _wait_for_exit(pid: int) -> None:
    """A finished process that its parent has not looked at yet has no command line any more."""
    until = time.monotonic() + EXIT_S
    with suppress(OSError):
        while (Path("/proc") / str(pid) / "cmdline").read_bytes() and time.monotonic() < until:
            time.sleep(TICK_S)
