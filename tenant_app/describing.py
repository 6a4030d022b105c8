"""What the OpenAPI says of ways to authenticate. Not said by dependencies: those would run at every request."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from control_plane.routing.credentials import COOKIE

SCHEMES = {
    "ApiKey": {"type": "http", "scheme": "bearer", "description": "A key of this tenant: `ch_...`."},
    "Session": {"type": "apiKey", "in": "cookie", "name": COOKIE, "description": "Set by signing in."},
}
OPEN = frozenset({"login", "enter"})
"""The operations that are answered with 401 for want of something else: a password, a ticket."""
EITHER: list[dict[str, list[str]]] = [{name: []} for name in SCHEMES]


def describe_credentials(app: FastAPI) -> None:
    """Have the app's OpenAPI ask for either credential wherever an operation may be answered with 401 without one."""
    plain = app.openapi

    def described() -> dict[str, Any]:
        known = app.openapi_schema is not None
        document = plain()
        if not known:
            document.setdefault("components", {})["securitySchemes"] = SCHEMES
            for path in document["paths"].values():
                for operation in path.values():
                    if operation["operationId"] not in OPEN and "401" in operation["responses"]:
                        operation["security"] = EITHER
        return document

    app.openapi = described  # type: ignore[method-assign]
