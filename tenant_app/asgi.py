"""The inbox's ASGI app."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI
from pydantic import BaseModel
from starlette.types import ASGIApp

from control_plane.api.bodies import BoundedBodies
from control_plane.api.errors import ANY_OTHER, install_errors
from control_plane.api.headers import NeverCached
from control_plane.routing.road import Road
from control_plane.routing.visitor import TheHost
from tenant_app.conversations.endpoints import router as conversations
from tenant_app.describing import describe_credentials
from tenant_app.failures import open_to_all
from tenant_app.messages.endpoints import router as messages
from tenant_app.passwords import Passwords
from tenant_app.sessions.endpoints import router as sessions
from tenant_app.users.endpoints import router as users

NAME = "inbox"
front = APIRouter(tags=["inbox"])


class Front(BaseModel):
    """Which app this is, and whose."""

    app: str
    tenant: str
    """The tenant's slug."""


@front.get("/", responses=open_to_all())
async def get_front(route: TheHost) -> Front:
    """Say which app this is, and whose."""
    return Front(app=NAME, tenant=route.slug)


def create_asgi(road: Road) -> ASGIApp:
    """The app over `road`."""
    limits = road.settings.limits
    app = FastAPI(
        title="Copyhold inbox",
        responses=ANY_OTHER,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.road = road
    app.state.passwords = Passwords(road.throttle, limits.logins_per_minute)
    install_errors(app)
    app.add_middleware(NeverCached)
    # The busiest first: each router passed over costs a request some 20 µs.
    for router in (messages, conversations, users, sessions, front):
        app.include_router(router)
    describe_credentials(app)
    return BoundedBodies(app, limits.body_bytes)
