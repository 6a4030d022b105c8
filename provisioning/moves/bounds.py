"""A bound that holds whatever a server does: one that is silent would be waited for as long as the network allows."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import psycopg

from control_plane.domain.errors import ConflictError, CopyholdError
from provisioning.roles import Connection


class FrozenTooLongError(ConflictError):
    """The copy under freeze took longer than it may: the tenant is served where it was."""

    code = "move_frozen_too_long"


@contextmanager
def cut_after(bound_s: float | None, connections: Sequence[Connection]) -> Iterator[None]:
    """Cut these connections when the block takes longer; FrozenTooLongError then, and in its last moment too."""
    if bound_s is None:
        yield
        return
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
            raise _too_long(bound_s) from error
        raise
    finally:
        timer.cancel()
        # It may be at it: who goes on after this block is cut no more.
        timer.join()
    if cut.is_set():
        raise _too_long(bound_s)


def _too_long(bound_s: float) -> FrozenTooLongError:
    return FrozenTooLongError(f"the copy under freeze took longer than {bound_s:g} s (COPYHOLD_LIMITS__FROZEN_COPY_S)")


def _cut(connection: Connection) -> None:
    # Whoever waits for it on another thread is woken. What libpq has of it, that thread alone may touch.
    with suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(connection.fileno())) as wire:
        wire.shutdown(socket.SHUT_RDWR)
