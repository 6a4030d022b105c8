"""Password work of one process: two at a time, off the event loop, with a bounded queue and bounded tries."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

from control_plane import passwords
from control_plane.domain.errors import UnavailableError
from control_plane.routing.throttle import Throttle

AT_ONCE = 2
WAITING_MAX = 40
"""Some second of waiting for the last one."""

Result = TypeVar("Result")


class PasswordQueueError(UnavailableError):
    """Too many people are signing in right now; try again in a moment."""

    code = "sign_in_busy"


class Passwords:
    """Makes and checks password hashes. Belongs to one event loop."""

    def __init__(self, throttle: Throttle, tries_per_minute: int) -> None:
        self._throttle, self._tries_per_minute = throttle, tries_per_minute
        self._limiter = CapacityLimiter(AT_ONCE)
        self._in_hand = 0

    async def count_try(self, whose: str, *, times: int = 1) -> None:
        """ThrottledError past the tries a minute that one account has, or `times` as many."""
        await self._throttle.check(f"password/{whose}", self._tries_per_minute * times)

    async def hash(self, password: str) -> str:
        """The hash to keep. PasswordQueueError when too many wait."""
        return await self._run(partial(passwords.hashed, password))

    async def matches(self, password: str, stored: str | None) -> bool:
        """Whether `stored` is the hash of `password`. Without a stored hash the work is the same and the answer no."""
        return await self._run(partial(passwords.matches, stored, password))

    async def _run(self, work: Callable[[], Result]) -> Result:
        # Counted here: the limiter does not know of those who are on their way to it, and they come in crowds.
        if self._in_hand >= AT_ONCE + WAITING_MAX:
            raise PasswordQueueError
        self._in_hand += 1
        try:
            return await to_thread.run_sync(work, limiter=self._limiter)
        finally:
            self._in_hand -= 1
