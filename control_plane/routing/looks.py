"""Looking at homes before they are served: once each, whoever comes at the same time; and ahead of a move's switch.

After a switch all of a tenant's requests come to its new home at once. To look at it and to open connections to it then
is the longest part of what they wait for; so both are done while the tenant still lives in the old one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import Any
from uuid import UUID

from control_plane.domain.route import Home, Route

AHEAD_MAX = 8
"""Looks at once ahead of a move, each over a connection of its own, which is kept for those who come."""
Mark = tuple[UUID, str, str | None]
"""What a look was for: a database, a schema, a revision."""
Look = Callable[[Home, Route], Coroutine[Any, Any, None]]


class Looks:
    """Which homes this process has looked at. Belongs to one event loop; `close` it at the end."""

    def __init__(self, look: Look, kept: Callable[[Home], int]) -> None:
        """`look` raises unless the home may be served; `kept` tells how many idle connections there are to one."""
        self._look, self._kept = look, kept
        self._seen: set[Mark] = set()
        self._under_way: dict[Mark, asyncio.Task[None]] = {}
        self._ahead: dict[tuple[UUID, int], asyncio.Task[None]] = {}

    async def once(self, home: Home, route: Route) -> None:
        """Look, unless somebody has; what the look raises, to all who wait for it. The next one looks again then."""
        mark = _mark(home, route)
        if mark in self._seen:
            return
        look = self._under_way.get(mark)
        if look is None:
            look = self._under_way[mark] = asyncio.create_task(self._look(home, route))
            look.add_done_callback(partial(self._has_looked, mark))
        # Shielded: whoever gives up does so alone.
        await asyncio.shield(look)

    def ahead(self, awaited: Iterable[Route]) -> None:
        """Begin to look at the next homes of those routes, each once, as widely as the old ones are used."""
        begun, self._ahead = self._ahead, {}
        for route in awaited:
            if route.home is not None and route.next_home is not None:
                number = max(1, min(AHEAD_MAX, self._kept(route.home)))
                key = route.tenant_id, route.epoch
                if key not in begun:
                    begun[key] = asyncio.create_task(self._several(route.next_home, route, number))
                self._ahead[key] = begun[key]

    def close(self) -> None:
        """Give up what is under way."""
        for look in (*self._under_way.values(), *self._ahead.values()):
            look.cancel()

    async def _several(self, home: Home, route: Route, number: int) -> None:
        found = await asyncio.gather(*(self._look(home, route) for _ in range(number)), return_exceptions=True)
        if None in found:
            self._seen.add(_mark(home, route))

    def _has_looked(self, mark: Mark, look: asyncio.Task[None]) -> None:
        del self._under_way[mark]
        # Its error is asked for even if nobody waits for it any more.
        if not look.cancelled() and look.exception() is None:
            self._seen.add(mark)


def _mark(home: Home, route: Route) -> Mark:
    return home.database_id, home.schema, route.revision
