"""How operations say in the OpenAPI in which ways they fail."""

from __future__ import annotations

from typing import Any

from control_plane.api.errors import problems

Responses = dict[int | str, dict[str, Any]]


def open_to_all(*more: int) -> Responses:
    """An operation for which nobody needs to be known: there may be no such tenant, or none that can be served."""
    return problems(403, 404, *more, 503)


def for_callers(*more: int) -> Responses:
    """An operation for those who are known: its caller may be refused as well."""
    return problems(401, 403, 404, *more, 503)
