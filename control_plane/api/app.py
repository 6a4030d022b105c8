"""The control plane's app: signup for newcomers, /admin for staff, probes and metrics for machines."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.types import ASGIApp

from control_plane.api import metrics, probes, signup
from control_plane.api.admin import (
    audit,
    closing,
    fleet,
    move_runs,
    moves,
    placement,
    processes,
    server_joining,
    servers,
    staff,
    tenants,
    workflows,
)
from control_plane.api.bodies import BoundedBodies
from control_plane.api.control import Control, ControlParts
from control_plane.api.errors import ANY_OTHER, install_errors
from control_plane.api.headers import NeverCached

__all__ = ["ControlParts", "create_control_app"]


def create_control_app(parts: ControlParts) -> ASGIApp:
    """The app over `parts`, which the caller has started and will end. Belongs to one event loop."""
    limit = parts.settings.limits.body_bytes
    app = FastAPI(
        title="Copyhold control plane",
        responses=ANY_OTHER,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.control = Control(parts)
    install_errors(app)
    app.add_middleware(NeverCached)
    estate = (servers, server_joining, placement, fleet, processes)
    ours = (signup, staff, tenants, closing, moves, move_runs, workflows, *estate, audit, probes, metrics)
    for module in ours:
        app.include_router(module.router)
    return BoundedBodies(app, limit)
