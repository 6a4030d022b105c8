"""What counts for a rate limit: events of one minute, those of all processes while Redis answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from control_plane.domain.errors import ThrottledError
from control_plane.domain.ids import new_id
from control_plane.routing import throttle
from control_plane.routing.throttle import WINDOW_S, Throttle
from tests.platform_under_test import PlatformUnderTest

AN_HOUR = 3600.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Stands still at the beginning of a minute."""
    now = SimpleNamespace(at=AN_HOUR)
    monkeypatch.setattr(throttle, "time", SimpleNamespace(time=lambda: now.at))
    return now


@pytest.fixture
def name() -> str:
    """Nobody else's."""
    return str(new_id())


@pytest.fixture
def redis_url(platform: PlatformUnderTest) -> str:
    """Of the platform's Redis."""
    return f"unix://{platform.layout.redis_socket}"


@asynccontextmanager
async def counting(url: str | None) -> AsyncIterator[Throttle]:
    limit = Throttle.at(url)
    try:
        yield limit
    finally:
        await limit.close()


async def refused(limit: Throttle, name: str, per_minute: int = 2) -> bool:
    try:
        await limit.check(name, per_minute)
    except ThrottledError:
        return True
    return False


@pytest.mark.parametrize("shared", [True, False])
async def test_the_next_minute_begins_anew(clock: SimpleNamespace, name: str, redis_url: str, shared: bool) -> None:
    async with counting(redis_url if shared else None) as limit:
        assert [await refused(limit, name) for _ in range(3)] == [False, False, True]
        assert not await refused(limit, f"not {name}")
        clock.at += WINDOW_S - 1
        assert await refused(limit, name)
        clock.at += 1
        assert not await refused(limit, name)


@pytest.mark.usefixtures("clock")
async def test_processes_count_together_in_redis(name: str, redis_url: str) -> None:
    async with counting(redis_url) as one, counting(redis_url) as another:
        assert [await refused(limit, name) for limit in (one, another, one)] == [False, False, True]


@pytest.mark.usefixtures("clock")
async def test_while_redis_does_not_answer_each_process_counts_by_itself(name: str, tmp_path: Path) -> None:
    nowhere = f"unix://{tmp_path / 'redis.sock'}"
    async with counting(nowhere) as one, counting(nowhere) as another:
        assert [await refused(one, name) for _ in range(3)] == [False, False, True]
        assert not await refused(another, name)
