"""HTTP for signing in and out."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from control_plane.routing.credentials import COOKIE
from control_plane.routing.visitor import TheSession
from tenant_app.caller import AsMember
from tenant_app.door import TheDoor
from tenant_app.failures import for_callers, open_to_all
from tenant_app.inputs import PathId
from tenant_app.pages import Page, ThePaging
from tenant_app.sessions import service
from tenant_app.sessions.schemas import Login, SessionOut
from tenant_app.sessions.service import Entry
from tenant_app.users.schemas import Me

router = APIRouter(prefix="/api", tags=["sessions"])


@router.post("/login", responses=open_to_all(401, 413, 422, 429))
async def login(door: TheDoor, body: Login, request: Request, response: Response) -> Me:
    """Sign in with e-mail address and password; the answer sets the session's cookie."""
    entry = await service.sign_in(door, body.email, body.password)
    _set_cookie(request, response, entry)
    return Me.model_validate(entry.user)


@router.get(
    "/enter",
    status_code=303,
    response_class=RedirectResponse,
    responses={303: {"description": "Signed in; go to the app."}, **open_to_all(401, 422)},
)
async def enter(door: TheDoor, ticket: Annotated[str, Query(max_length=400)], request: Request) -> RedirectResponse:
    """Turn a one-use ticket into a session; the answer sets its cookie."""
    entry = await service.redeem(door, ticket)
    response = RedirectResponse("/", status_code=303, headers={"Referrer-Policy": "no-referrer"})
    _set_cookie(request, response, entry)
    return response


@router.post("/logout", status_code=204, responses=for_callers())
async def logout(by: AsMember, session: TheSession, response: Response) -> None:
    """End the session that asks, and have its cookie forgotten."""
    await service.sign_out(session, by)
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="lax")


@router.get("/sessions", responses=for_callers(422))
async def list_sessions(by: AsMember, session: TheSession, paging: ThePaging) -> Page[SessionOut]:
    """Where the caller is signed in, newest first."""
    return await service.list_own(session, by, paging)


@router.delete("/sessions/{session_id}", status_code=204, responses=for_callers())
async def end_session(by: AsMember, session: TheSession, session_id: PathId) -> None:
    """Sign the caller out of one place."""
    await service.end_own(session, by, session_id)


def _set_cookie(request: Request, response: Response, entry: Entry) -> None:
    # No domain: the cookie is this host's alone, never another tenant's.
    response.set_cookie(
        COOKIE,
        entry.cookie,
        max_age=entry.life_s,
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )
