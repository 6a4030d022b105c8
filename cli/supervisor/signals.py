"""What the outside asks of the supervisor: to stop, or to look after a child that ended."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class StopRequested(KeyboardInterrupt):
    """Somebody asked the supervisor to stop.

    A KeyboardInterrupt, because libraries let that one through and leave their state clean.
    """


class Signals:
    """Turns signals into something the supervisor reads when it is ready to.

    `sleep` ends early on any of them. Inside `interrupting` a stop is raised at once, wherever the code is.
    """

    def __init__(self) -> None:
        self.stops = 0
        self._raise = False

    def __enter__(self) -> Signals:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        for number in STOP_SIGNALS:
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # `nohup` ignores it
                signal.signal(number, self._on_stop)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        return self

    def __exit__(self, *_error: object) -> None:
        signal.set_wakeup_fd(-1)
        for number in (*STOP_SIGNALS, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        os.close(self._reader)
        os.close(self._writer)

    def sleep(self, seconds: float) -> None:
        """Wait, but not past the next signal."""
        select.select([self._reader], [], [], max(0.0, seconds))
        with suppress(BlockingIOError):
            while os.read(self._reader, 512):
                pass

    def check(self) -> None:
        """Raise StopRequested when a stop was asked for."""
        if self.stops:
            raise StopRequested

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """For work that cannot look up by itself and may be cut off anywhere."""
        self.check()
        self._raise = True
        try:
            yield
        finally:
            self._raise = False

    def _on_stop(self, _number: int, _frame: FrameType | None) -> None:
        self.stops += 1
        if self._raise:
            self._raise = False
            raise StopRequested
