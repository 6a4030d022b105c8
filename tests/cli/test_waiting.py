"""Ctrl-C while a command waits: at every moment of a look, in a callback, and again when a look hangs."""

from __future__ import annotations

import ast
import os
import signal
import sys
import time
import weakref
from pathlib import Path
from types import FrameType

import pytest
import typer
from sqlalchemy import text

import cli
from cli import following
from cli.interrupts import INTERRUPTED, is_asked
from cli.waiting import leaving_it_alone, pause, unbroken
from cli.wiring import Platform
from control_plane.registry.engine import transaction
from tests.cli.shell import Shell
from tests.forking import start
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest, running_platform
from tests.provisioning.workers import workers_alone
from tests.waiting import until

HINT = "it goes on without you; see how far it is: copyhold look\n"
MOMENTS = 60
NOT_FOR_WORKERS = {"waiting.py", "demo.py", "supervisor/leftovers.py", "supervisor/stop.py"}
"""Where something sleeps: the one place for those who wait for workers, and those who wait for their own processes."""


@pytest.fixture(scope="module")
def company(platform: PlatformUnderTest) -> TenantUnderTest:
    """A tenant that nothing is done to."""
    return platform.tenant("pool")


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


class Moment:
    """Counts what Python calls; at one of the calls ctrl-C is pressed."""

    def __init__(self, at: int) -> None:
        self.calls, self._at = 0, at

    def __enter__(self) -> Moment:
        sys.setprofile(self._called)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _called(self, _frame: FrameType, _event: str, _argument: object) -> None:
        self.calls += 1
        if self.calls == self._at:
            press()


@pytest.mark.slow
def test_it_ends_the_waiting_at_whatever_moment_of_a_look_it_comes(
    opened: Platform, company: TenantUnderTest, capsys: pytest.CaptureFixture[str]
) -> None:
    def wait(moment: Moment) -> None:
        with leaving_it_alone("copyhold look"), moment:
            following.follow(opened, company.id, "provision/nobody/takes-this", 9, lambda _: None, lambda _: None)

    first = Moment(at=1)
    with pytest.raises(typer.Exit):
        wait(first)
    for at in range(1, first.calls, first.calls // MOMENTS):
        capsys.readouterr()
        with pytest.raises(typer.Exit) as ended:
            wait(Moment(at))
        assert (ended.value.exit_code, capsys.readouterr().err) == (INTERRUPTED, HINT), at
        with transaction(opened.engine) as session:
            assert session.scalar(text("SELECT 1")) == 1, at


def test_it_is_not_lost_where_python_would_ignore_it(capsys: pytest.CaptureFixture[str]) -> None:
    class Thing:
        pass

    def wait() -> None:
        with leaving_it_alone("copyhold look"):
            thing = Thing()
            watched = weakref.ref(thing, lambda _: press())
            del thing
            assert watched() is None
            pause(60)

    with pytest.raises(typer.Exit) as ended:
        wait()
    assert (ended.value.exit_code, capsys.readouterr().err) == (INTERRUPTED, HINT)


def test_it_may_come_while_what_is_waited_for_is_being_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    asked = []

    def wait() -> None:
        with unbroken():
            press()
            asked.append("for something")
            with leaving_it_alone("copyhold look"):
                pause(60)

    with pytest.raises(typer.Exit) as ended:
        wait()
    assert (asked, ended.value.exit_code, capsys.readouterr().err) == (["for something"], INTERRUPTED, HINT)


def test_who_is_done_waiting_when_it_comes_is_not_told_that_it_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    with leaving_it_alone("copyhold look"):
        press()
    assert capsys.readouterr().err == ""


def test_before_and_after_it_does_what_it_did() -> None:
    before = signal.getsignal(signal.SIGINT)
    with leaving_it_alone("copyhold look"):
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(KeyboardInterrupt):
        press()


def test_a_command_in_the_background_of_a_script_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with leaving_it_alone("copyhold look"):
            press()
            pause()
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err == ""


def hang() -> None:
    """A command whose look does not come back."""
    with leaving_it_alone("copyhold look"):
        _tell("looks")
        while not is_asked():
            time.sleep(0.01)
        _tell("goes on")
        time.sleep(60)
        pause()


def _tell(what: str) -> None:
    print(what, file=sys.stderr, flush=True)  # noqa: T201 - for whoever presses


def test_a_second_one_ends_a_look_that_hangs() -> None:
    running = start(hang)
    until(lambda: running.heard() == "looks\n", what="it looks")
    running.interrupt()
    until(lambda: running.heard() == "looks\ngoes on\n", what="it has heard the first")
    running.interrupt()
    said = running.ended()
    assert (said.code, said.err) == (INTERRUPTED, "looks\ngoes on\n")


def sleeps(path: Path) -> bool:
    """Whether `time.sleep` is called there."""
    calls = (node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
    return any(ast.unparse(called) in {"time.sleep", "sleep"} for called in calls)


def test_no_command_waits_for_workers_in_another_way() -> None:
    root = Path(cli.__file__).parent
    assert {str(path.relative_to(root)) for path in root.rglob("*.py") if sleeps(path)} == NOT_FOR_WORKERS


@pytest.mark.slow
def test_every_wait_says_how_to_look_and_stops_nothing() -> None:
    with running_platform() as platform:
        shell, tenant = Shell(platform.data), platform.tenant("pool")
        with workers_alone(platform):
            move = shell.start("tenant", "move", tenant.slug, "--to", "bridge")
            drain = shell.start("server", "drain", "beta")
            grow = shell.start("server", "grow", "alpha", "--model", "pool")  # says nothing while it waits
            until(lambda: "worker running?" in move.heard() and "worker running?" in drain.heard(), what="they wait")
            for running, look in (
                (move, f"tenant moves {tenant.slug}"),
                (drain, "server drain beta"),
                (grow, "server show alpha"),
            ):
                running.interrupt()
                said = running.ended()
                hint = f"it goes on without you; see how far it is: copyhold {look} --data {platform.data}"
                assert (said.code, said.notes) == (INTERRUPTED, [hint])
        until(lambda: shell("tenant", "show", tenant.slug, "--json").json["model"] == "bridge", what="it has moved")
        assert shell("server", "drain", "beta").code == 0

        def databases() -> set[str]:
            return {each["name"] for each in shell("server", "show", "alpha", "--json").json["databases"]}

        until(lambda: "pool_2" in databases(), what="there is another pool")
