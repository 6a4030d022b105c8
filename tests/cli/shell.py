"""Runs commands as a shell would: in a process of their own, which may become another user.

The process is forked from this one, where everything is imported already: tens of milliseconds instead of a second.
"""

from __future__ import annotations

import faulthandler
import gc
import importlib
import json
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from cli import main
from tests.waiting import until

NOT_ENDED_WELL = 70
DEADLINE_S = 60.0


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
    def error(self) -> str:
        """The one line that a failed command says."""
        assert self.code != 0, self.out
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("copyhold: ")
        return lines[0].removeprefix("copyhold: ")


@dataclass
class Running:
    """A command that runs."""

    pid: int
    out: IO[bytes]
    err: IO[bytes]

    def interrupt(self) -> None:
        """Press ctrl-C."""
        os.kill(self.pid, signal.SIGINT)

    def heard(self) -> str:
        """What it has said on standard error so far."""
        return _so_far(self.err)

    def ended(self, deadline_s: float = DEADLINE_S) -> Said:
        """Wait for its end. What has not ended in time is ended, and the test fails with what it had said till then."""
        found: list[int] = []

        def is_over() -> bool:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            found.append(os.waitstatus_to_exitcode(status) if pid else 0)
            return pid != 0

        try:
            until(is_over, what="the command ends", deadline_s=deadline_s)
        except AssertionError as error:
            printed = _so_far(self.out)
            os.kill(self.pid, signal.SIGABRT)  # Upon it Python says on standard error where it stands.
            os.waitpid(self.pid, 0)
            raise AssertionError(f"{error}\nout: {printed}\nerr: {_so_far(self.err)}") from None
        return Said(code=found[-1], out=_all_of(self.out), err=_all_of(self.err))


@dataclass(frozen=True)
class Shell:
    """Runs commands on the platform in `data`, if one is named."""

    data: Path | None = None

    def __call__(self, *arguments: str) -> Said:
        """Run a command to its end."""
        return self.start(*arguments).ended()

    def start(self, *arguments: str, variables: Mapping[str, str] | None = None) -> Running:
        """Start a command; `variables` are set in its environment."""
        for module in ("tenant_app", *(entry.where.partition(":")[0] for entry in main.COMMANDS.values())):
            importlib.import_module(module)
        where = () if self.data is None else ("--data", str(self.data))
        out, err = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115 - closed when read
        pid = os.fork()
        if pid == 0:
            _become_the_command([*arguments, *where], variables or {}, out, err)
        return Running(pid, out, err)


def _become_the_command(arguments: list[str], variables: Mapping[str, str], out: IO[bytes], err: IO[bytes]) -> None:
    code: object = NOT_ENDED_WELL
    try:
        gc.freeze()  # connections of the tests, collected here, would be closed for them as well
        os.environ.update(variables)
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        faulthandler.enable(2)
        sys.argv = ["copyhold", *arguments]
        main.main()
        code = 0
    except SystemExit as ending:
        code = 0 if ending.code is None else ending.code
    except BaseException:  # noqa: BLE001 - it must not go on as a second test run
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


def _so_far(file: IO[bytes]) -> str:
    return os.pread(file.fileno(), 2**20, 0).decode()  # the offset is the command's as well


def _all_of(file: IO[bytes]) -> str:
    with file:
        file.seek(0)
        return file.read().decode()
