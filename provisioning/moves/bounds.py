"""What bounds a freeze, whatever a server does: one that is silent would be waited for as long as the network allows.

And who is frozen by this process, for one that is about to end.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import psycopg

from control_plane.domain.errors import ConflictError, CopyholdError, UnavailableError
from provisioning.roles import Connection


class TooLongError(CopyholdError):
    """It took longer than it may."""

    code = "move_too_long"


class FrozenTooLongError(TooLongError, ConflictError):
    """The copy under freeze took longer than it may: the tenant is served where it was."""

    code = "move_frozen_too_long"

    def __init__(self, bound_s: float) -> None:
        super().__init__(f"the copy under freeze took longer than {bound_s:g} s (COPYHOLD_LIMITS__FROZEN_COPY_S)")


class SilentError(TooLongError, UnavailableError):
    """A server has said nothing for as long as a tenant may be frozen."""

    code = "move_server_silent"

    def __init__(self, bound_s: float) -> None:
        super().__init__(f"a server has said nothing for {bound_s:g} s, for which the tenant was frozen")


_changed = threading.Condition()
_frozen: list[object] = []


@contextmanager
def freezing() -> Iterator[None]:
    """For as long as the block lasts a tenant may be frozen by this process."""
    mine = object()
    with _changed:
        _frozen.append(mine)
    try:
        yield
    finally:
        with _changed:
            _frozen.remove(mine)
            _changed.notify_all()


def wait_for_thaw(within_s: float) -> bool:
    """Whether nobody is frozen by this process; at once, or as soon as that is so."""
    with _changed:
        return _changed.wait_for(lambda: not _frozen, within_s)


@contextmanager
def cut_after(
    bound_s: float, connections: Sequence[Connection], too_long: Callable[[float], TooLongError]
) -> Iterator[None]:
    """Cut these connections when the block takes longer; what `too_long` makes then, and in its last moment too."""
    cut = threading.Event()

    def end() -> None:
        cut.set()
        for connection in connections:
            _cut(connection)

    timer = threading.Timer(bound_s, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (psycopg.Error, CopyholdError) as error:
        if cut.is_set():
            raise too_long(bound_s) from error
        raise
    finally:
        timer.cancel()
        # It may be at it: who goes on after this block is cut no more.
        timer.join()
    if cut.is_set():
        raise too_long(bound_s)


def _cut(connection: Connection) -> None:
    # Whoever waits for it on another thread is woken. What libpq has of it, that thread alone may touch.
    with suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(connection.fileno())) as wire:
        wire.shutdown(socket.SHUT_RDWR)
