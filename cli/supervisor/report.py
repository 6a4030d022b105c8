"""Where progress goes: to the terminal, or, in the background, to a log and to whoever still waits for `ready`."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TextIO

import typer

from control_plane.domain.errors import SetupError


class Report(Protocol):
    """Where progress goes. Never raises: a lost line must not stop a platform."""

    def say(self, line: str) -> None: ...


class TerminalReport:
    """Lines on standard output. Nobody reading them any more is no reason to stop a platform."""

    def say(self, line: str) -> None:
        with suppress(OSError):
            typer.echo(line)

    def ready(self) -> None:
        """All parts serve."""

    def failed(self, message: str) -> None:
        """The caller's error reaches the terminal by itself."""


class BackgroundReport:
    """Lines into the log, with the time, and to the waiting parent until the platform is ready or failed."""

    def __init__(self, parent: TextIO) -> None:
        self._parent = parent

    def say(self, line: str) -> None:
        with suppress(OSError):
            typer.echo(f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {line}")
        self._tell("say", line)

    def ready(self) -> None:
        self._tell("ready", "")
        with suppress(OSError):
            self._parent.close()

    def failed(self, message: str) -> None:
        self._tell("failed", " ".join(message.split()))

    def _tell(self, kind: str, text: str) -> None:
        if self._parent.closed:
            return
        with suppress(OSError):  # the parent was stopped; the platform comes up all the same
            self._parent.write(f"{kind} {text}\n")
            self._parent.flush()


def go_to_background(log: Path) -> BackgroundReport:
    """Return in a process of its own, without a terminal, whose output goes to `log`.

    The calling process never returns from here: it prints the progress, then ends with typer.Exit once the
    platform is ready, or raises SetupError with the reason why it is not.
    """
    reader, writer = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    if child := os.fork():
        os.close(writer)
        os.waitpid(child, 0)
        _follow(reader, log)
    os.close(reader)
    os.setsid()
    if os.fork():
        os._exit(0)  # so that no terminal can become ours again, and nobody has to reap us
    _redirect(log)
    return BackgroundReport(os.fdopen(writer, "w"))


def _follow(reader: int, log: Path) -> None:
    with os.fdopen(reader) as progress:
        for line in progress:
            kind, _, text = line.rstrip("\n").partition(" ")
            if kind == "ready":
                raise typer.Exit(0)
            if kind == "failed":
                raise SetupError(text)
            typer.echo(text)
    raise SetupError(f"the platform ended while it started; see {log}")


def _redirect(log: Path) -> None:
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.close(nothing)
    os.close(target)
