"""Waiting for the roll to say something, without a thread and without asking the control database."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TypeVar

from control_plane.routing.feed import Roll
from control_plane.routing.snapshot import RollSnapshot

LOOK_AGAIN_S = 0.25
"""A change wakes whoever waits; this is for one that came in the very moment the waiting began."""

Fact = TypeVar("Fact")


class RollWatch:
    """Wakes requests when the roll has changed. Belongs to the event loop that first waits."""

    def __init__(self, roll: Roll) -> None:
        self._roll = roll
        self._changed = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        roll.subscribe(self._on_feed_thread)

    async def until(self, fact: Callable[[RollSnapshot], Fact | None], within_s: float) -> Fact | None:
        """What `fact` finds in the roll, as soon as it finds something, or None after `within_s` seconds."""
        self._loop = asyncio.get_running_loop()
        end = self._loop.time() + within_s
        while (found := fact(self._roll.snapshot)) is None and (left := end - self._loop.time()) > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), min(left, LOOK_AGAIN_S))
        return found

    def _on_feed_thread(self) -> None:
        if self._loop is not None:
            # The feed's thread may outlive the loop by a moment at the end of the process.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
