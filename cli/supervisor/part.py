"""One part of a platform, as a value, and one life of it, as a process."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BufferedWriter
from pathlib import Path

LOG_BYTES = 10 * 1024 * 1024
"""A log longer than this is put aside as `.1` when its part starts."""
TAIL_LINES = 12
TAIL_BYTES = 8192
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None)


def nothing() -> None:
    """Nothing to prepare."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A process to run: how it starts, how one sees that it is ready, how it stops."""

    name: str
    what: str
    """For the person who reads the progress lines."""
    command: tuple[str, ...]
    folder: Path
    """Its working folder."""
    log: Path
    ready: Callable[[], bool]
    """Must answer within a few seconds, and True only when the part serves."""
    stop_with: Sequence[tuple[signal.Signals, float]]
    """Signals to stop it with, each with the seconds it gets; SIGKILL follows."""
    when_orphaned: signal.Signals
    """What the kernel sends it should the supervisor die."""
    ready_within_s: float = 30.0
    prepare: Callable[[], None] = nothing
    """Runs before every start."""
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    tenants_need_it: bool = False
    """Whether without it nobody at all is served."""


class Life:
    """One run of a part, in a process group of its own: a terminal's ctrl-C passes it by."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.started_at = time.monotonic()
        part.prepare()
        with _open_log(part.log) as log:
            self._log_begins = log.tell()
            self._process = subprocess.Popen(
                part.command,
                cwd=part.folder,
                env=part.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with(os.getpid(), part.when_orphaned),
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def age_s(self) -> float:
        return time.monotonic() - self.started_at

    def ended(self) -> bool:
        return self._process.poll() is not None

    def end(self) -> str:
        """How it ended, for a person."""
        code = self._process.returncode
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"

    def send(self, number: signal.Signals) -> None:
        """Do nothing when it has ended."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it and what it started, and wait."""
        if not self.ended():
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def tail(self) -> list[str]:
        """The last lines that it logged in this life."""
        with self.part.log.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_begins, size - TAIL_BYTES))
            return log.read().decode(errors="replace").splitlines()[-TAIL_LINES:]


def _open_log(path: Path) -> BufferedWriter:
    if path.exists() and path.stat().st_size > LOG_BYTES:
        path.replace(path.with_name(path.name + ".1"))
    return path.open("ab")


def _die_with(parent: int, number: signal.Signals) -> Callable[[], None]:
    """For the child, between fork and exec: have the kernel send it a signal when the supervisor dies."""

    def prepare() -> None:
        _libc.prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)

    return prepare
