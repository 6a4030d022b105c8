"""The limit on requests' bodies, answered with a problem like every other failure."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from control_plane.api.errors import answer_error
from control_plane.domain.errors import CopyholdError, Kind


class TooLargeError(CopyholdError):
    """The request's body is too large."""

    kind = Kind.TOO_LARGE
    code = "too_large"


class BoundedBodies:
    """Refuses a body that is declared to be too large, before `app` sees the request.

    FastAPI's own limit answers those in plain text, whatever its handlers say; it is still needed, for bodies of
    undeclared length.
    """

    def __init__(self, app: ASGIApp, limit_bytes: int) -> None:
        self._app, self._limit_bytes = app, limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and self._declared_bytes(scope) > self._limit_bytes:
            await answer_error(TooLargeError())(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _declared_bytes(self, scope: Scope) -> int:
        declared = Headers(scope=scope).get("content-length", "")
        return int(declared) if declared.isascii() and declared.isdigit() else 0
