"""What ctrl-C asks for, kept until the code is where it can do so.

Python's own KeyboardInterrupt comes wherever the code is: amid a query, whose connection can then neither commit nor be
given back, or in a callback, where it is ignored and lost.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130
"""What shells say of a command that ctrl-C ended."""
_SHOW_CURSOR = b"\x1b[?25h"


class Held:
    """In the place of Python's handler: remembers that it was called. A second call ends the process at once."""

    def __init__(self, at_first: Callable[[], None]) -> None:
        self.asked = False
        self._at_first = at_first

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        """A signal has come."""
        if self.asked:
            # As a kill would: whoever goes on looks for itself what there is. Threads that wait could not be told.
            if sys.stdout.isatty():
                os.write(sys.stdout.fileno(), _SHOW_CURSOR)  # which a bar has hidden
            os._exit(INTERRUPTED)
        self.asked = True
        self._at_first()


@contextmanager
def held(*numbers: signal.Signals, at_first: Callable[[], None] = lambda: None) -> Iterator[None]:
    """For the length of the block these signals interrupt nothing. The first calls `at_first`, a second one ends the
    command at once. One that the command was started to ignore, as what runs in the background of a script is, it does.

    A block within another is part of that.
    """
    handler = Held(at_first)
    before = {number: signal.getsignal(number) for number in numbers}
    heard = {
        number: earlier
        for number, earlier in before.items()
        if earlier is not signal.SIG_IGN and not isinstance(earlier, Held)
    }
    for number in heard:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, earlier in heard.items():
            signal.signal(number, earlier)


def is_asked() -> bool:
    """Whether ctrl-C was pressed in the `held` block that the code is in."""
    handler = signal.getsignal(signal.SIGINT)
    return isinstance(handler, Held) and handler.asked
