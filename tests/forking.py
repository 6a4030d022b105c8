"""Processes that start in milliseconds: forked from one that has imported everything, and runs no thread."""

from __future__ import annotations

import faulthandler
import json
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import IO, Any

from cli import main
from tests.waiting import DEADLINE_S

# A server of processes: forking the tests' own process would copy the locks of its threads, held for ever.
forked = multiprocessing.get_context("forkserver")
forked.set_forkserver_preload(
    [
        "tenant_app",
        *(entry.where.partition(":")[0] for entry in main.COMMANDS.values()),
        "tests.forking",
        "tests.pooler.calls",
        "tests.provisioning.starts",
        "tests.provisioning.worker",
    ]
)


@dataclass(frozen=True, kw_only=True)
class Said:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What was printed, which must be JSON and nothing else."""
        assert self.code == 0, self.err
        return json.loads(self.out)

    @property
    def notes(self) -> list[str]:
        """The lines on standard error, but for what commands that wait say of a machine that has other things to do."""
        return [line for line in self.err.splitlines() if not line.endswith("is a worker running?")]

    @property
    def error(self) -> str:
        """The one line that a failed command says."""
        assert self.code != 0, self.out
        lines = self.notes
        assert len(lines) == 1, self.err
        assert lines[0].startswith("copyhold: ")
        return lines[0].removeprefix("copyhold: ")


@dataclass(frozen=True)
class Running:
    """A command that runs."""

    process: BaseProcess
    out: IO[bytes]
    err: IO[bytes]

    @property
    def pid(self) -> int:
        """Its process."""
        assert self.process.pid is not None
        return self.process.pid

    def interrupt(self) -> None:
        """Press ctrl-C."""
        os.kill(self.pid, signal.SIGINT)

    def heard(self) -> str:
        """What it has said on standard error so far."""
        return _so_far(self.err)

    def ended(self, deadline_s: float = DEADLINE_S) -> Said:
        """Wait for its end. What has not ended in time is ended, and the test fails with what it had said till then."""
        with self.out, self.err:
            self.process.join(deadline_s)
            if self.process.exitcode is None:
                os.kill(self.pid, signal.SIGABRT)  # Upon it Python says on standard error where it stands.
                self.process.join()
                said = f"out: {_so_far(self.out)}\nerr: {_so_far(self.err)}"
                raise AssertionError(f"the command did not end in {deadline_s} s\n{said}")
            return Said(code=self.process.exitcode, out=_so_far(self.out), err=_so_far(self.err))


def start_command(*arguments: str, variables: Mapping[str, str] | None = None) -> Running:
    """Start `copyhold` with these words in a process of its own, which may become another user.

    It has the environment that this process has now, and `variables` in it.
    """
    return start(main.main, *arguments, variables=variables)


def start(work: Callable[[], None], *arguments: str, variables: Mapping[str, str] | None = None) -> Running:
    """Start `work`, a function of a module, as if it were the command."""
    out, err = tempfile.NamedTemporaryFile(), tempfile.NamedTemporaryFile()  # noqa: SIM115 - closed when read
    environment = {**os.environ, **(variables or {})}
    words = (work, arguments, environment, Path(out.name), Path(err.name))
    process = forked.Process(target=_become_the_command, args=words, daemon=True)
    process.start()
    return Running(process, out, err)


def _become_the_command(
    work: Callable[[], None], arguments: tuple[str, ...], variables: Mapping[str, str], out: Path, err: Path
) -> None:
    multiprocessing.current_process().daemon = False  # it may start processes of its own
    os.environ.clear()
    os.environ.update(variables)
    for stream, file in ((1, out), (2, err)):
        os.dup2(os.open(file, os.O_WRONLY), stream)
    faulthandler.enable(2)
    sys.argv = ["copyhold", *arguments]
    work()


def _so_far(file: IO[bytes]) -> str:
    return Path(file.name).read_bytes().decode()
