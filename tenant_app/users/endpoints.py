"""HTTP for users, and for the caller as one of them."""

from __future__ import annotations

from fastapi import APIRouter

from control_plane.routing.visitor import TheSession
from tenant_app.caller import MEMBERS, AsAdmin, AsMember
from tenant_app.door import ThePasswords
from tenant_app.failures import for_callers
from tenant_app.inputs import PathId
from tenant_app.pages import Page, ThePaging
from tenant_app.users import service
from tenant_app.users.schemas import Me, MyChanges, NewUser, UserChanges, UserOut

router = APIRouter(prefix="/api", tags=["users"])


@router.get("/me", responses=for_callers())
async def get_me(by: AsMember) -> Me:
    """Whoever asks: a person, or the service user that an API key acts as."""
    return Me(id=by.user_id, email=by.email, name=by.name, role=by.role, kind=by.kind)


@router.patch("/me", responses=for_callers(413, 422, 429))
async def change_me(by: AsMember, session: TheSession, passwords: ThePasswords, body: MyChanges) -> Me:
    """Change one's own name, or one's password by showing the current one."""
    return Me.model_validate(await service.change_self(session, by, body, passwords))


@router.get("/users", dependencies=[MEMBERS], responses=for_callers(422))
async def list_users(session: TheSession, paging: ThePaging) -> Page[UserOut]:
    """The tenant's users, oldest first."""
    return await service.list_all(session, paging)


@router.post("/users", status_code=201, responses=for_callers(409, 413, 422, 429))
async def create_user(by: AsAdmin, session: TheSession, passwords: ThePasswords, body: NewUser) -> UserOut:
    """Make a new person."""
    return UserOut.model_validate(await service.create(session, by, body, passwords))


@router.get("/users/{user_id}", dependencies=[MEMBERS], responses=for_callers())
async def get_user(session: TheSession, user_id: PathId) -> UserOut:
    """One user."""
    return UserOut.model_validate(await service.find(session, user_id))


@router.patch("/users/{user_id}", responses=for_callers(409, 413, 422))
async def change_user(by: AsAdmin, session: TheSession, user_id: PathId, body: UserChanges) -> UserOut:
    """Change a person's name or role, disable them or let them in again."""
    return UserOut.model_validate(await service.change(session, by, user_id, body))


@router.delete("/users/{user_id}", status_code=204, responses=for_callers(409))
async def disable_user(by: AsAdmin, session: TheSession, user_id: PathId) -> None:
    """Disable a person and end their sessions; what they wrote stays."""
    await service.disable(session, by, user_id)
