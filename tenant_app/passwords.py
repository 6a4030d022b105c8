"""Passwords: argon2id, two at a time and off the event loop, with a bounded queue."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from anyio import CapacityLimiter, to_thread
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from control_plane.domain.errors import UnavailableError
from control_plane.routing.throttle import Throttle

AT_ONCE = 2
"""Each takes 64 MiB and four threads for some 50 ms (the library's defaults, RFC 9106's second choice)."""
WAITING_MAX = 40

Result = TypeVar("Result")


class PasswordQueueError(UnavailableError):
    """Too many people are signing in right now; try again in a moment."""

    code = "sign_in_busy"


class Passwords:
    """Makes and checks password hashes of one process. Belongs to one event loop."""

    def __init__(self, throttle: Throttle, tries_per_minute: int) -> None:
        self._throttle, self._tries_per_minute = throttle, tries_per_minute
        self._hasher = PasswordHasher()
        self._limiter = CapacityLimiter(AT_ONCE)
        self._nobodys = self._hasher.hash(secrets.token_urlsafe())

    async def count_try(self, whose: str, *, times: int = 1) -> None:
        """ThrottledError past the tries a minute that one account has, or `times` as many."""
        await self._throttle.check(f"password/{whose}", self._tries_per_minute * times)

    async def hash(self, password: str) -> str:
        """The PHC string to keep. PasswordQueueError when too many wait."""
        return await self._run(partial(self._hasher.hash, password))

    async def matches(self, password: str, stored: str | None) -> bool:
        """Whether `stored` is the hash of `password`. Without a stored hash the work is the same and the answer no."""
        genuine = await self._run(partial(self._check, password, stored or self._nobodys))
        return genuine and stored is not None

    def _check(self, password: str, stored: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: Callable[[], Result]) -> Result:
        if self._limiter.statistics().tasks_waiting >= WAITING_MAX:
            raise PasswordQueueError
        return await to_thread.run_sync(work, limiter=self._limiter)
