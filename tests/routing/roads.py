"""Roads of a test's own over the platform: real roll, real pooler, other limits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from control_plane.routing.feed import Roll
from control_plane.routing.road import Road
from control_plane.settings import Settings
from tests.platform_under_test import PlatformUnderTest
from tests.waiting import DEADLINE_S

POLL_S = 0.005


def limited(settings: Settings, **limits: Any) -> Settings:
    """The settings with other limits."""
    return settings.model_copy(update={"limits": settings.limits.model_copy(update=limits)})


def roll_of(platform: PlatformUnderTest, **changes: Any) -> Roll:
    """A roll that has been read once and is read again when it is asked for."""
    options: dict[str, Any] = {"poll_s": 0.2, "file": None, **changes}
    settings = platform.settings
    dsn = options.pop("dsn", settings.control_dsn)
    roll = Roll(options.pop("engine", platform.engine), dsn, platform.keyring, options.pop("file"), **options)
    roll.refresh()
    return roll


@asynccontextmanager
async def road_over(
    platform: PlatformUnderTest,
    settings: Settings | None = None,
    *,
    roll: Roll | None = None,
    revisions: Iterable[str] | None = None,
    **limits: Any,
) -> AsyncIterator[Road]:
    """A road on this test's event loop; closed at the end, when nothing may be lent any more."""
    road = Road(
        limited(settings or platform.settings, **limits),
        platform.keyring,
        roll or await asyncio.to_thread(roll_of, platform),
        revisions=revisions,
    )
    try:
        yield road
    finally:
        await road.close()
    await soon(lambda: road.source.state.lent == 0, what="every connection has come back")


async def soon(fact: Callable[[], bool], *, what: str, deadline_s: float = DEADLINE_S) -> None:
    """As tests.waiting.until, for facts that come true on this event loop."""
    end = time.monotonic() + deadline_s
    while not fact():
        assert time.monotonic() < end, f"did not come true in {deadline_s} s: {what}"
        await asyncio.sleep(POLL_S)
