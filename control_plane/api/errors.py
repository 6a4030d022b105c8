"""Errors as HTTP answers: RFC 9457 problem details, one table from an error's kind to a status."""

from __future__ import annotations

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy.exc import DBAPIError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from control_plane.domain.errors import CopyholdError, Kind

STATUS: Mapping[Kind, int] = {
    Kind.INVALID: 422,
    Kind.UNAUTHENTICATED: 401,
    Kind.NOT_ENTITLED: 402,
    Kind.FORBIDDEN: 403,
    Kind.NOT_FOUND: 404,
    Kind.CONFLICT: 409,
    Kind.TOO_LARGE: 413,
    Kind.THROTTLED: 429,
    Kind.REFUSED: 403,
    Kind.UNAVAILABLE: 503,
    Kind.FAILED: 500,
}
CODES: Mapping[int, str] = {
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_media_type",
}
"""Codes of what the framework itself refuses; the phrases of statuses change between versions of Python."""
MEDIA_TYPE = "application/problem+json"
log = structlog.get_logger()


class FieldProblem(BaseModel):
    """What is wrong with one field of a request."""

    field: str = Field(description="Where the field stands, e.g. `body.email`.")
    message: str


class Problem(BaseModel):
    """Problem details (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str = Field(description="Stable name of the error, for programs.")
    errors: list[FieldProblem] = []


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For `responses=`: these statuses are answered with problem details."""
    return {
        status: {
            "model": Problem,
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }


ANY_OTHER: dict[int | str, dict[str, Any]] = {"default": {"model": Problem, "description": "Any other failure."}}
"""For every operation. It also keeps FastAPI from announcing its own form of 422, which nobody is ever answered."""


def install_errors(app: FastAPI) -> None:
    """Answer every failure of `app` with problem details; an unforeseen one is logged by its type alone, as a 500."""
    app.add_exception_handler(CopyholdError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_middleware(_Contained)


def answer(status: int, detail: str, code: str, *, errors: list[FieldProblem] | None = None) -> JSONResponse:
    """One problem as a response."""
    problem = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, code=code, errors=errors or [])
    content = problem.model_dump(exclude={"errors"} if not errors else None)
    return JSONResponse(content, status_code=status, media_type=MEDIA_TYPE)


def answer_error(error: CopyholdError) -> JSONResponse:
    """One of our errors as a response."""
    status = STATUS[error.kind]
    response = answer(status, error.message if status != 500 else "Something went wrong.", error.code)
    if error.retry_after_s is not None:
        response.headers["Retry-After"] = str(math.ceil(error.retry_after_s))
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, CopyholdError)
    if error.kind is Kind.FAILED:
        log.error("request_failed", error=type(error).__name__, code=error.code, path=_route(request))
    return answer_error(error)


async def _invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    # An id that is no id names nothing: it is answered like an unknown one.
    if any(item["loc"][0] == "path" for item in found):
        return answer(404, "There is nothing of that name or id here.", "not_found")
    fields = [FieldProblem(field=".".join(map(str, item["loc"])), message=item["msg"]) for item in found]
    return answer(422, "The request is not valid.", "invalid", errors=fields)


async def _http(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    phrase = HTTPStatus(error.status_code).phrase
    response = answer(error.status_code, f"{phrase}.", CODES.get(error.status_code, f"http_{error.status_code}"))
    response.headers.update(error.headers or {})
    return response


async def _unforeseen(request: Request, error: Exception) -> Response:
    # Not the error's text: a driver's holds statements and values of rows.
    cause = error.orig if isinstance(error, DBAPIError) else error
    log.error(
        "request_crashed",
        error=type(cause).__name__,
        sqlstate=getattr(cause, "sqlstate", None),
        path=_route(request),
    )
    return answer(500, "Something went wrong.", "failed")


def _route(request: Request) -> str:
    """The route's pattern, not the path: a path holds ids."""
    route = request.scope.get("route")
    return getattr(route, "path", "-")


class _Contained:
    """Answers what nobody foresaw inside the app: Starlette's own way would raise it again, and the server would
    write its text, which may hold values of rows, into the log and drop the connection.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:  # noqa: BLE001 - the last resort, as Starlette's own
            response = await _unforeseen(Request(scope), error)
            if started:
                raise RuntimeError("an answer broke off") from None
            await response(scope, receive, send)
