"""Threads for the control plane's blocking work: few, its own, with a bounded queue and a bounded wait.

FastAPI runs every synchronous route of a process in one shared pool of threads, and a control database that hangs
would fill it. Here a hanging call costs one of this pool's threads and nothing else, and its request is still answered.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from control_plane.domain.errors import UnavailableError

Result = TypeVar("Result")


class ControlBusyError(UnavailableError):
    """The control plane is too busy for this right now; try again in a moment."""

    code = "control_busy"


class Threads:
    """Runs `at_once` calls at a time; no more than `waiting` wait, and nobody longer than `within_s` for the result."""

    def __init__(self, name: str, *, at_once: int, waiting: int, within_s: float) -> None:
        self._executor = ThreadPoolExecutor(at_once, thread_name_prefix=name)
        self._free = asyncio.Semaphore(at_once)
        self._waiting, self._waiting_max, self._within_s = 0, waiting, within_s

    async def run(self, work: Callable[[], Result]) -> Result:
        """What `work` returns or raises. ControlBusyError when it cannot begin or does not end in time.

        Work that has begun is never interrupted: it keeps its thread until it ends, and what it does then counts.
        """
        try:
            async with asyncio.timeout(self._within_s):
                await self._wait_for_a_thread()
                # Shielded: only the end of the work itself frees its thread.
                return await asyncio.shield(self._begin(work))
        except TimeoutError as error:
            raise ControlBusyError from error

    async def _wait_for_a_thread(self) -> None:
        if self._free.locked() and self._waiting >= self._waiting_max:
            raise ControlBusyError(waiting=self._waiting)
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1

    def _begin(self, work: Callable[[], Result]) -> asyncio.Future[Result]:
        run = partial(contextvars.copy_context().run, work)
        future = asyncio.get_running_loop().run_in_executor(self._executor, run)
        future.add_done_callback(lambda _: self._free.release())
        return future
