"""Processes that start in milliseconds: forked from one that has imported everything, and runs no thread."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path

from cli import main

# A server of processes: forking the tests' own process would copy the locks of its threads.
forked = multiprocessing.get_context("forkserver")
forked.set_forkserver_preload(
    [
        "tenant_app",
        *(entry.where.partition(":")[0] for entry in main.COMMANDS.values()),
        "tests.pooler.calls",
        "tests.provisioning.starts",
        "tests.provisioning.worker",
    ]
)
ENDED_WITHIN_S = 120.0


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `copyhold` with these words in a process of its own, which may become another user; what it printed."""
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        process = forked.Process(target=_become_the_command, args=(arguments, dict(os.environ), out, err), daemon=True)
        process.start()
        process.join(ENDED_WITHIN_S)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(arguments, ENDED_WITHIN_S)
        return subprocess.CompletedProcess(arguments, process.exitcode, out.read_text(), err.read_text())


def _become_the_command(arguments: tuple[str, ...], variables: Mapping[str, str], out: Path, err: Path) -> None:
    os.environ.clear()
    os.environ.update(variables)
    for stream, file in ((1, out), (2, err)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), stream)
    sys.argv = ["copyhold", *arguments]
    try:
        main.main()
    except SystemExit:
        raise
    except BaseException:
        traceback.print_exc()
        raise
