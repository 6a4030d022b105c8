"""How the tests start commands."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.forking import start
from tests.waiting import until


def say_and_stay() -> None:
    """What a command does that hangs."""
    for file, words in ((sys.stdout, "begun\n"), (sys.stderr, "waits for nobody\n")):
        file.write(words)
        file.flush()
    signal.pause()


def test_a_command_that_does_not_end_is_ended_and_what_it_had_said_is_told() -> None:
    running = start(say_and_stay)
    until(lambda: "waits" in running.heard(), what="it waits")
    with pytest.raises(AssertionError, match=r"did not end in 0.1 s") as told:
        running.ended(deadline_s=0.1)
    out, err = str(told.value).split("\nout: ")[1].split("\nerr: ")
    assert out == "begun\n"
    assert err.startswith("waits for nobody\n")
    assert f"in {say_and_stay.__name__}\n" in err, "where it stood"
    with pytest.raises(ProcessLookupError):
        os.kill(running.pid, 0)


def say_where_from() -> None:
    """Which process it was forked from, and how many threads that one runs."""
    parent = os.getppid()
    json.dump([parent, len([*Path(f"/proc/{parent}/task").iterdir()])], sys.stdout)


def test_commands_are_forked_from_a_process_without_threads_whose_locks_they_would_hold_for_ever() -> None:
    parent, threads = start(say_where_from).ended().json
    assert (parent != os.getpid(), threads) == (True, 1)
