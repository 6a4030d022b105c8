"""Placeholder until the control plane's routes are in place."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import FastAPI
from sqlalchemy import Engine

from control_plane.keyring import Keyring
from control_plane.registry.workflows import Workflows
from control_plane.routing.feed import Roll
from control_plane.routing.throttle import Throttle
from control_plane.settings import Settings


@dataclass(frozen=True, kw_only=True)
class ControlParts:
    """What the routes work with."""

    settings: Settings
    engine: Engine
    workflows: Workflows
    keyring: Keyring
    roll: Roll
    throttle: Throttle


def create_control_app(parts: ControlParts) -> FastAPI:
    """Placeholder."""
    app = FastAPI()

    @app.get("/readyz")
    def readyz() -> dict[str, str]:
        return {"status": "ok"}

    return app
