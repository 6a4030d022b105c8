"""Going inside tenants' homes from synchronous steps: the road lives on an event loop of its own in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.domain.errors import CopyholdError
from control_plane.domain.route import Route
from control_plane.routing.feed import Roll
from control_plane.routing.road import Road
from control_plane.routing.seam import NewTenant, Owner
from provisioning.estate import Estate

VISIT_TIMEOUT_S = 30.0
Result = TypeVar("Result")


class SmokeTestError(CopyholdError):
    """The new home does not answer as it must."""

    code = "smoke_test"


class Inside:
    """One road for all steps of a worker, the same that requests take. Close it at the end."""

    def __init__(self, estate: Estate) -> None:
        self._estate = estate
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="inside", daemon=True)
        self._thread.start()
        # Its routes are handed in by the steps, fresh from the control database: the roll stays empty.
        roll = Roll(estate.engine, estate.settings.control_dsn, estate.keyring, None, poll_s=1)
        self._road = self._run(_made(lambda: Road(estate.settings, estate.keyring, roll)))

    def seed(self, route: Route, owner: Owner | None) -> None:
        """Have the tenant app write its first data."""
        tenant = NewTenant(id=route.tenant_id, slug=route.slug, name=route.name)
        self._visit(route, lambda session: self._estate.app.seed(session, tenant, owner))

    def try_out(self, route: Route) -> None:
        """Enter through the pooler with a real token and ask the database whose rows are seen."""

        async def ask(session: AsyncSession) -> None:
            seen: UUID = (await session.execute(text("SELECT tenancy.current_tenant()"))).scalar_one()
            if seen != route.tenant_id:
                raise SmokeTestError

        self._visit(route, ask)

    def close(self) -> None:
        """End the road and its loop."""
        with contextlib.suppress(TimeoutError):
            self._run(self._road.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)

    def _visit(self, route: Route, do: Callable[[AsyncSession], Coroutine[Any, Any, None]]) -> None:
        async def visit() -> None:
            async with self._road.enter_unopened(route) as session:
                await do(session)

        self._run(visit())

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(VISIT_TIMEOUT_S)


async def _made(make: Callable[[], Result]) -> Result:
    return make()
