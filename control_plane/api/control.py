"""What every route of the control plane works with: the parts it is made of, and the way to the control database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Concatenate, ParamSpec, TypeVar

from fastapi import Depends, Request
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from control_plane.api.threads import Threads
from control_plane.api.watch import RollWatch
from control_plane.domain.errors import UnavailableError
from control_plane.keyring import Keyring
from control_plane.registry.engine import transaction
from control_plane.registry.workflows import Workflows
from control_plane.routing.connections import ConnectionSource
from control_plane.routing.feed import Roll
from control_plane.routing.throttle import Throttle
from control_plane.settings import Settings
from control_plane.signup.welcome import Welcome

CALLS_AT_ONCE = 10
"""As many as the engine has connections."""
CALLS_WAITING = 100
PASSWORDS_AT_ONCE = 2
"""Each takes 19 MiB and some 30 ms of CPU."""
PASSWORDS_WAITING = 40
PASSWORD_WITHIN_S = 10.0
PROBE_WITHIN_S = 1.0
PROBES_WAITING = 20
FOLLOWERS_AT_ONCE = 8
"""Streams of events; each asks the control database a few times a second."""

Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")


@dataclass(frozen=True, kw_only=True)
class ControlParts:
    """What the entry point hands over; it starts and ends these parts itself."""

    settings: Settings
    engine: Engine
    workflows: Workflows
    keyring: Keyring
    roll: Roll
    throttle: Throttle
    source: ConnectionSource | None = None
    """The road's connections, for the metrics alone."""


class Control:
    """The parts at work in one app, on one event loop; found at `app.state.control`."""

    def __init__(self, parts: ControlParts) -> None:
        self.parts, self.settings, self.workflows = parts, parts.settings, parts.workflows
        limits = parts.settings.limits
        self.watch = RollWatch(parts.roll)
        self.welcome = Welcome(parts.keyring, limits)
        self._calls = Threads(
            "control", at_once=CALLS_AT_ONCE, waiting=CALLS_WAITING, within_s=2 * limits.control_timeout_s
        )
        self._passwords = Threads(
            "passwords", at_once=PASSWORDS_AT_ONCE, waiting=PASSWORDS_WAITING, within_s=PASSWORD_WITHIN_S
        )
        self.followers = asyncio.Semaphore(FOLLOWERS_AT_ONCE)
        self._probe = Threads("probe", at_once=1, waiting=PROBES_WAITING, within_s=PROBE_WITHIN_S)

    async def run(
        self,
        work: Callable[Concatenate[Session, Arguments], Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        """What `work` returns, called with a session: one transaction, in one thread, committed before this returns."""

        def in_transaction() -> Result:
            with transaction(self.parts.engine) as session:
                return work(session, *args, **kwargs)

        return await self._calls.run(in_transaction)

    async def hash(self, work: Callable[[], Result]) -> Result:
        """What `work` returns, which makes or checks a password: in threads of its own, without a transaction."""
        return await self._passwords.run(work)

    async def refresh_roll(self) -> bool:
        """Have the roll include all that is committed by now; False when the control database does not answer."""
        try:
            await self._calls.run(self.parts.roll.refresh)
        except UnavailableError:
            return False
        return True

    async def glance(self, work: Callable[[Session], Result]) -> Result | None:
        """What `work` reads of the control database; None when that does not answer within PROBE_WITHIN_S seconds."""

        def ask() -> Result:
            with transaction(self.parts.engine) as session:
                return work(session)

        try:
            return await self._probe.run(ask)
        except UnavailableError:
            return None

    async def answers(self) -> bool:
        """Whether the control database answers within PROBE_WITHIN_S seconds."""
        return await self.glance(lambda session: session.scalar(select(1))) is not None


async def _control(request: Request) -> Control:
    control: Control = request.app.state.control
    return control


TheControl = Annotated[Control, Depends(_control)]
