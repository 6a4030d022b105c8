"""Parts that die, hang or never come up."""

from __future__ import annotations

import os
import signal

import pytest

from cli.supervisor.keeper import LONGEST_REST_S, QUICK_DEATHS, rest_s
from tests.platform.machine import PARTS, Platform, eventually


@pytest.mark.parametrize("part", PARTS)
def test_a_killed_part_is_started_again(running: Platform, part: str) -> None:
    pid = running.pid(part)
    assert pid is not None

    os.kill(pid, signal.SIGKILL)

    eventually(lambda: running.pid(part) not in {None, pid} and running.serves(part))


@pytest.mark.slow
def test_a_part_without_which_nobody_is_served_stops_everything_when_it_cannot_stand(platform: Platform) -> None:
    platform.up()
    (platform.data / "api-must-die").touch()
    pid = platform.pid("api")
    assert pid is not None

    os.kill(pid, signal.SIGKILL)
    status, printed = platform.end()

    assert status == 1
    assert "the stub API cannot go on" in printed
    assert printed.splitlines()[-1] == (
        f"copyhold: api: ended with exit status 1, 5 times in a row; its log is {platform.layout.logs / 'api.log'}"
    )
    assert platform.processes() == {}


@pytest.mark.slow
def test_a_part_that_cannot_stand_stops_nobody_else_and_comes_back_once_it_can(running: Platform) -> None:
    must_die, log = running.data / "worker-must-die", running.layout.logs / "worker.log"
    must_die.touch()
    pid, before = running.pid("worker"), log.read_text().count("cannot go on")
    assert pid is not None

    os.kill(pid, signal.SIGKILL)

    eventually(lambda: log.read_text().count("cannot go on") - before > QUICK_DEATHS, within_s=60)
    assert all(running.serves(part) for part in PARTS if part != "worker")
    must_die.unlink()
    eventually(lambda: running.serves("worker"))


def test_a_start_that_fails_half_way_is_undone(platform: Platform) -> None:
    failed = platform.run("up", "--port", str(platform.port), STUB_WORKER="dies")

    assert failed.returncode == 1
    assert "the stub worker cannot go on" in failed.stdout
    assert failed.stderr.startswith("copyhold: worker: ended with exit status 1")
    assert platform.processes() == {}
    platform.up()


def test_a_failed_bootstrap_is_undone(platform: Platform) -> None:
    failed = platform.run("up", "--port", str(platform.port), STUB_BOOTSTRAP="fails")

    assert (failed.returncode, failed.stderr) == (1, "copyhold: the stub bootstrap fails\n")
    assert platform.processes() == {}


@pytest.mark.parametrize(
    "stuck", [pytest.param({"STUB_WORKER": "never-ready"}, marks=pytest.mark.slow), {"STUB_BOOTSTRAP": "hangs"}]
)
def test_a_start_that_hangs_can_be_stopped(platform: Platform, stuck: dict[str, str]) -> None:
    process = platform.spawn(**stuck)
    assert process.stdout is not None
    last = "api" if "STUB_WORKER" in stuck else "beta"
    for line in process.stdout:
        if line.startswith(f"  {last} "):
            break

    platform.tell(signal.SIGTERM)
    status, printed = platform.end()

    assert status == 1
    assert printed.splitlines()[-1] == "copyhold: Stopped before everything was ready; nothing is left running."
    assert platform.processes() == {}


def test_a_second_stop_does_not_wait_for_a_part_that_will_not_end(platform: Platform) -> None:
    platform.up(STUB_WORKER="stubborn")

    platform.tell(signal.SIGTERM)
    eventually(lambda: b"stopping worker" in platform.layout.lock.read_bytes())
    platform.tell(signal.SIGTERM)

    status, printed = platform.end()
    assert status == 0
    assert "worker did not end by itself; killing it" in printed
    assert platform.processes() == {}


def test_restarts_come_ever_more_slowly_but_within_bounds() -> None:
    rests = [rest_s(deaths) for deaths in range(1, 12)]

    assert rests[0] == 0
    assert rests == sorted(rests)
    assert rests[-1] == rest_s(10_000) == LONGEST_REST_S
