"""One port, two apps: the host says whether a request is for the control plane or for a tenant."""

from __future__ import annotations

from starlette.datastructures import State
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from control_plane.api.errors import answer_error
from control_plane.domain.errors import UnknownTenantError
from control_plane.routing.visitor import host_of, slug_in

TENANT_PATHS = "/api/"
OUTER = frozenset({"app", "router", "endpoint", "path_params"})


class ByHost:
    """Hands a request to `state.tenant` when its host names a tenant, or an API key does on the control host's /api."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        app = self._app_for(scope) if scope["type"] == "http" else None
        if app is not None:
            # What the outer router left in the scope is not theirs: their own fill it in.
            await app({name: value for name, value in scope.items() if name not in OUTER}, receive, send)
        elif scope["type"] == "http":
            await answer_error(UnknownTenantError())(scope, receive, send)
        else:
            await receive()
            await send({"type": "websocket.close", "code": 1008})

    def _app_for(self, scope: Scope) -> ASGIApp | None:
        request = Request(scope)
        try:
            slug = slug_in(host_of(request), self._state.base_domain)
        except UnknownTenantError:
            return None
        app: ASGIApp = self._state.tenant if slug or scope["path"].startswith(TENANT_PATHS) else self._state.control
        return app
