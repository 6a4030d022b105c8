"""What a killed supervisor leaves behind, and how the next `up` deals with it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.supervisor import leftovers
from cli.supervisor.part import Part
from tests.platform.machine import PARTS, Platform, eventually


def test_parts_end_with_a_killed_supervisor_and_up_works_again(platform: Platform) -> None:
    platform.up()
    before = platform.starts()

    platform.tell(signal.SIGKILL)

    eventually(lambda: platform.processes() == {})
    platform.end()
    platform.up()
    assert platform.starts() == before + 1


def test_up_at_once_after_a_kill_waits_for_what_is_still_ending(platform: Platform) -> None:
    platform.up()

    platform.tell(signal.SIGKILL)
    platform.end()
    platform.up()

    assert all(platform.serves(part) for part in PARTS)


@pytest.mark.slow
def test_up_works_after_everything_was_killed_at_once(platform: Platform) -> None:
    platform.up()
    before = platform.starts()

    platform.tell(signal.SIGKILL)
    for pid in platform.processes():
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    platform.end()
    platform.up()

    assert platform.starts() == before + 1


def test_pid_files_whose_numbers_now_belong_to_others_do_not_matter(platform: Platform) -> None:
    owner = platform.data.stat().st_uid
    stranger = subprocess.Popen(["sleep", "600"], user=owner if os.geteuid() == 0 else None)
    for server in ("control", "alpha"):
        file = platform.layout.servers / server / "postmaster.pid"
        file.write_text(f"{stranger.pid}\n{file.parent}\n1\n6001\n{platform.layout.run}\n\n  1 1\nready\n")
        os.chown(file, owner, -1)
    (platform.layout.run / ".s.PGSQL.6002.lock").write_text(f"{stranger.pid}\n")
    platform.layout.lock.write_text(f'{{"pid": {stranger.pid}, "url": "http://x"}}')
    assert platform.run("down").stdout.startswith("not running")

    platform.up()

    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


class Lines:
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, line: str) -> None:
        self.said.append(line)


@pytest.fixture
def stubborn(platform: Platform) -> Iterator[tuple[Part, subprocess.Popen[bytes]]]:
    """A process with a part's arguments that only SIGKILL ends, and one that merely mentions the data folder."""
    script = "trap '' TERM; echo up; while :; do sleep 0.05; done"
    part = Part(
        name="worker",
        what="",
        command=("sh", "-c", script, str(platform.data)),
        folder=Path("/"),
        log=platform.layout.logs / "worker.log",
        ready=lambda: True,
        stop_with=((signal.SIGTERM, 0.1),),
        when_orphaned=signal.SIGTERM,
    )
    process = subprocess.Popen(part.command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    yield part, process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_leftover_that_does_not_end_is_killed_and_nobody_else(
    platform: Platform, stubborn: tuple[Part, subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    part, process = stubborn
    similar = subprocess.Popen(["sh", "-c", "sleep 600; true", str(platform.data)])
    monkeypatch.setattr(leftovers, "ENDING_S", 0.1)
    report = Lines()

    leftovers.clear(platform.layout, [part], report)

    assert process.wait(timeout=5) == -signal.SIGKILL
    assert similar.poll() is None
    assert report.said[-1] == f"stopping worker of an earlier run (pid {process.pid})"
    similar.kill()
    similar.wait()


def test_no_time_is_lost_when_nothing_is_left(platform: Platform) -> None:
    part = Part(
        name="x",
        what="",
        command=("x", str(platform.data)),
        folder=Path("/"),
        log=Path("/dev/null"),
        ready=lambda: True,
        stop_with=(),
        when_orphaned=signal.SIGTERM,
    )
    began = time.monotonic()

    leftovers.clear(platform.layout, [part], Lines())

    assert time.monotonic() - began < 5
