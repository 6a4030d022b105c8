"""Staff at work: who is asking, by bearer token or session cookie, and what their role allows.

A desk is what a route asks for; having one means having been let in. Refusals come before the body is looked at.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Concatenate, ParamSpec, TypeVar

from fastapi import Depends, Request, Response
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.orm import Session

from control_plane.api.control import Control, TheControl
from control_plane.domain.errors import UnauthenticatedError
from control_plane.registry.workflows import Workflows
from control_plane.routing.visitor import refuse_other_sites
from control_plane.staff import service
from control_plane.staff.roles import StaffRole
from control_plane.staff.service import SESSION_LIFE, Shown, StaffMember

STAFF_COOKIE = "copyhold_staff"

Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")


@dataclass(frozen=True, kw_only=True)
class Credential:
    """What somebody shows, of a proper form and not yet looked up."""

    kind: Shown
    secret: str


@dataclass(frozen=True, kw_only=True)
class Desk:
    """A member of staff who may do what was asked, and the means to do it."""

    control: Control
    staff: StaffMember

    @property
    def actor(self) -> str:
        """How the audit log names them."""
        return self.staff.email

    @property
    def workflows(self) -> Workflows:
        """The door to the workflow engine."""
        return self.control.workflows

    async def run(
        self,
        work: Callable[Concatenate[Session, Arguments], Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        """See Control.run."""
        return await self.control.run(work, *args, **kwargs)


async def credential(
    request: Request,
    bearer: Annotated[
        HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False, scheme_name="StaffToken"))
    ],
    cookie: Annotated[
        str | None, Depends(APIKeyCookie(name=STAFF_COOKIE, auto_error=False, scheme_name="StaffSession"))
    ],
) -> Credential:
    """What the request shows; memory alone is touched. A token goes before a cookie."""
    if bearer is not None:
        return Credential(kind=Shown.TOKEN, secret=service.recognised(Shown.TOKEN, bearer.credentials))
    if cookie is None:
        raise UnauthenticatedError("sign in, or send a staff token")
    refuse_other_sites(request)
    return Credential(kind=Shown.SESSION, secret=service.recognised(Shown.SESSION, cookie))


TheCredential = Annotated[Credential, Depends(credential)]


def _at_least(role: StaffRole) -> Callable[[Control, Credential], Awaitable[Desk]]:
    async def of_role(control: TheControl, shown: TheCredential) -> Desk:
        staff = await control.run(service.authenticate, shown.kind, shown.secret, role)
        return Desk(control=control, staff=staff)

    return of_role


AsSupport = Annotated[Desk, Depends(_at_least(StaffRole.SUPPORT))]
AsOps = Annotated[Desk, Depends(_at_least(StaffRole.OPS))]
AsAdmin = Annotated[Desk, Depends(_at_least(StaffRole.ADMIN))]


def set_cookie(request: Request, response: Response, secret: str) -> None:
    """Have the browser show the session from now on, to this host alone and never on behalf of another site."""
    response.set_cookie(
        STAFF_COOKIE,
        secret,
        max_age=int(SESSION_LIFE.total_seconds()),
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )


def forget_cookie(response: Response) -> None:
    """Have the browser forget the session."""
    response.delete_cookie(STAFF_COOKIE, path="/", httponly=True, samesite="strict")
