"""Waiting for what workers do: a look, a pause, the next look. Ctrl-C ends it between two looks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from signal import SIGINT

import typer

from cli import output
from cli.interrupts import INTERRUPTED, held, is_asked
from control_plane.domain.errors import CopyholdError, UnavailableError

POLL_S = 0.05
SILENCE_S = 5.0
"""After this long without a step, whoever waits is told that the worker may be down."""
WAIT_S = 120.0


class GaveUpError(CopyholdError):
    """The workflow ended before all was done."""

    code = "workflow_failed"


class NotYetError(UnavailableError):
    """It is not done yet, and goes on."""

    code = "not_yet"


def unbroken() -> AbstractContextManager[None]:
    """Around a wish and the wait for it, where only the wish tells how to look: ctrl-C amid the wish ends the wait."""
    return held(SIGINT)


@contextmanager
def leaving_it_alone(looking: str) -> Iterator[None]:
    """Who stops waiting, by ctrl-C and at the next `pause`, is told that the work goes on and how to look at it."""
    with held(SIGINT):
        try:
            yield
        except KeyboardInterrupt as error:
            output.note(f"it goes on without you; see how far it is: {looking}")
            raise typer.Exit(INTERRUPTED) from error
        except NotYetError as error:
            raise NotYetError(f"{error.message}; see how far it is: {looking}") from error


def pause(seconds: float = POLL_S) -> None:
    """Sleep between two looks. KeyboardInterrupt when ctrl-C was pressed since waiting began."""
    if not is_asked():
        time.sleep(seconds)
    if is_asked():
        raise KeyboardInterrupt
