"""The tests' own shell, when a command does not end."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from cli import main
from tests.cli.shell import Shell
from tests.waiting import until


def say_and_stay() -> None:
    """What a command does that hangs."""
    for file, words in ((sys.stdout, "begun\n"), (sys.stderr, "waits for nobody\n")):
        file.write(words)
        file.flush()
    signal.pause()


def test_a_command_that_does_not_end_is_ended_and_what_it_had_said_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "main", say_and_stay)
    running = Shell().start("server", "list")
    until(lambda: "waits" in running.heard(), what="it waits")
    with pytest.raises(AssertionError, match=r"did not come true in 0.1 s: the command ends") as told:
        running.ended(deadline_s=0.1)
    out, err = str(told.value).split("\nout: ")[1].split("\nerr: ")
    assert out == "begun\n"
    assert err.startswith("waits for nobody\n")
    assert f"in {say_and_stay.__name__}\n" in err, "where it stood"
    with pytest.raises(ProcessLookupError):
        os.kill(running.pid, 0)
