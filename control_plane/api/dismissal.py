"""Ends what is open for a tenant that is not served any more: its streams at once, the rest after a moment.

One place for all that a tenant app does, whatever the app: a request that is cancelled here rolls its transaction back
and gives its connection back, as one does whose client has gone.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from uuid import UUID

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from control_plane.api.errors import answer_error
from control_plane.domain.errors import CopyholdError
from control_plane.routing.feed import Roll
from control_plane.routing.road import refuse_unless_served
from control_plane.routing.visitor import named_tenant

MOMENT_S = 0.4
"""What is not answered yet may come to its end for so long; most transactions take a hundredth of that."""


@dataclass(eq=False, kw_only=True)
class _Open:
    """One request that goes on."""

    limit: asyncio.Timeout
    answering: bool = False
    refusal: CopyholdError | None = None

    def dismiss(self, refusal: CopyholdError) -> None:
        if self.refusal is None:
            self.refusal = refusal
            self.limit.reschedule(asyncio.get_running_loop().time() + (0 if self.answering else MOMENT_S))


class Dismissing:
    """Serves a tenant app. Belongs to one event loop.

    When the roll says that a tenant is suspended or closed, its streams break off, so that their readers can tell that
    from an end; whoever has had no answer yet is given the refusal as one.
    """

    def __init__(self, app: ASGIApp, roll: Roll, base_domain: str) -> None:
        self._app, self._roll, self._base_domain = app, roll, base_domain
        self._open: dict[UUID, set[_Open]] = {}
        self._loop = asyncio.get_running_loop()
        roll.subscribe(self._on_feed_thread)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        tenant_id = named_tenant(Request(scope), self._roll.snapshot, self._base_domain)
        if tenant_id is None:
            await self._app(scope, receive, send)
            return
        request = _Open(limit=asyncio.timeout(None))
        try:
            async with request.limit:
                self._open.setdefault(tenant_id, set()).add(request)
                try:
                    await self._app(scope, receive, _watched(send, request))
                finally:
                    self._forget(tenant_id, request)
        except TimeoutError:
            if request.refusal is None or not request.limit.expired():
                raise
            if not request.answering:
                await answer_error(request.refusal)(scope, receive, send)

    def _forget(self, tenant_id: UUID, request: _Open) -> None:
        self._open[tenant_id].discard(request)
        if not self._open[tenant_id]:
            del self._open[tenant_id]

    def _on_feed_thread(self) -> None:
        # The feed's thread may outlive the loop by a moment at the end of the process.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._look)

    def _look(self) -> None:
        routes = self._roll.snapshot.by_id
        for tenant_id, requests in self._open.items():
            try:
                if tenant_id in routes:
                    refuse_unless_served(routes[tenant_id])
            except CopyholdError as refusal:
                for request in requests:
                    request.dismiss(refusal)


def _watched(send: Send, request: _Open) -> Send:
    async def watched(message: Message) -> None:
        request.answering = True
        await send(message)

    return watched
