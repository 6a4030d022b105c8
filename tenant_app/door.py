"""The door of one tenant's host, for those who are about to sign in: whatever old cookie they carry does not matter."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.domain.route import Route
from control_plane.routing.road import Road
from control_plane.routing.visitor import TheHost
from tenant_app.passwords import Passwords

TRIES_PER_CLIENT = 5
"""An office behind one address may try so many times as often as one account."""


@dataclass(frozen=True, kw_only=True)
class Door:
    """What signing in needs: it opens and ends its own transactions, so as to hold none while a password is checked."""

    road: Road
    route: Route
    passwords: Passwords
    client: str

    def enter(self) -> AbstractAsyncContextManager[AsyncSession]:
        """One transaction in this tenant's home; see Road.enter."""
        return self.road.enter(self.route.tenant_id)

    async def count_try(self, email: str) -> None:
        """ThrottledError when this account, or this client, has been tried too often within a minute."""
        await self.passwords.count_try(f"client/{self.client}", times=TRIES_PER_CLIENT)
        await self.passwords.count_try(f"{self.route.tenant_id}/{email}")


async def _passwords(request: Request) -> Passwords:
    passwords: Passwords = request.app.state.passwords
    return passwords


ThePasswords = Annotated[Passwords, Depends(_passwords)]
"""The process's one queue of password work."""


async def _door(request: Request, route: TheHost, passwords: ThePasswords) -> Door:
    client = request.client.host if request.client else ""
    return Door(road=request.app.state.road, route=route, passwords=passwords, client=client)


TheDoor = Annotated[Door, Depends(_door)]
