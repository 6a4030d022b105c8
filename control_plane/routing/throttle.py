"""Rate limits, counted in Redis so that all API processes share them; in memory where there is no Redis."""

from __future__ import annotations

import hashlib
import time
from typing import Protocol

import redis.asyncio
import structlog
from redis.exceptions import RedisError

from control_plane.domain.errors import ThrottledError

WINDOW_S = 60
log = structlog.get_logger()


class Counter(Protocol):
    """Counts events by name in windows of WINDOW_S seconds."""

    async def hit(self, name: str) -> int:
        """One more event of that name; how many there were in this window, this one included."""

    async def close(self) -> None:
        """Give connections back."""


class MemoryCounter:
    """Counts of this process alone."""

    def __init__(self) -> None:
        self._window = 0
        self._counts: dict[str, int] = {}

    async def hit(self, name: str) -> int:
        """See Counter."""
        window = int(time.time()) // WINDOW_S
        if window != self._window:
            self._window, self._counts = window, {}
        self._counts[name] = self._counts.get(name, 0) + 1
        return self._counts[name]

    async def close(self) -> None:
        """See Counter."""


class RedisCounter:
    """Counts of all processes; while Redis does not answer, of this process alone."""

    def __init__(self, url: str) -> None:
        self._redis = redis.asyncio.Redis.from_url(url, socket_timeout=0.5, socket_connect_timeout=0.5)
        self._fallback = MemoryCounter()

    async def hit(self, name: str) -> int:
        """See Counter."""
        window = int(time.time()) // WINDOW_S
        key = f"copyhold:throttle:{window}:{name}"
        try:
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.incr(key)
                pipe.expire(key, 2 * WINDOW_S)
                count, _ = await pipe.execute()
                return int(count)
        except (RedisError, OSError) as error:
            log.warning("redis_lost", error=type(error).__name__)
            return await self._fallback.hit(name)

    async def close(self) -> None:
        """See Counter."""
        await self._redis.aclose()


class Throttle:
    """Refuses what comes too often."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter

    @classmethod
    def at(cls, redis_url: str | None) -> Throttle:
        """Counting in that Redis, or in memory when there is none."""
        return cls(RedisCounter(redis_url) if redis_url else MemoryCounter())

    async def check(self, name: str, per_minute: int) -> None:
        """Count one event; ThrottledError past the limit. The name is hashed: it may hold an address or e-mail."""
        hashed = hashlib.sha256(name.encode()).hexdigest()[:32]
        if await self._counter.hit(hashed) > per_minute:
            raise ThrottledError

    async def close(self) -> None:
        """Give connections back."""
        await self._counter.close()
