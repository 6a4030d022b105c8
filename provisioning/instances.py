"""What the steps do by which a server comes to be, and ends, as an RDS instance. Every function may be repeated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from control_plane.domain.errors import SetupError
from control_plane.domain.rds import RdsShape
from control_plane.domain.server import Server, ServerStatus
from control_plane.doors import opened, sealed
from control_plane.registry import servers, warm
from control_plane.registry.engine import transaction
from control_plane.settings import Rds
from control_plane.tenants.joining import ENDING, RDS
from provisioning.estate import Estate
from provisioning.providers.rds.pace import Pace
from provisioning.providers.rds.provider import RdsProvider
from provisioning.providers.rds.states import RdsStatus, State
from provisioning.waiting import NotYet

RESTARTING = "restarting"


class NoInstanceError(SetupError):
    """The roll does not say what instance that server is."""

    code = "no_instance"


def provider_of(settings: Rds, server: Server) -> RdsProvider:
    """What makes and ends that server's instance, as the roll describes it; NoInstanceError when it does not."""
    if not server.rds:
        raise NoInstanceError(f"the roll does not say what RDS instance {server.name} is", server=server.name)
    return RdsProvider(
        platform=server.rds["platform"],
        shapes={server.name: RdsShape.of(server.rds["shape"])},
        endpoints=settings.endpoints,
        pace=Pace(tries=settings.tries, poll_s=settings.poll_s),
    )


def create_instance(estate: Estate, subject: UUID) -> None:
    """Ask AWS for it, unless that was done. ProviderError says why it cannot be had."""
    if (server := _of_rds(estate, subject, ServerStatus.ADDING)) is not None:
        provider_of(estate.settings.rds, server).begin(server.name)


def await_instance(estate: Estate, subject: UUID) -> NotYet | None:
    """One look: None once it is available. ProviderError when it will not be by itself."""
    if (server := _of_rds(estate, subject, ServerStatus.ADDING)) is None:
        return None
    seen = provider_of(estate.settings.rds, server).attend(server.name)
    if seen.state is State.READY and not seen.restart_needed:
        return None
    return _look_again(estate.settings.rds, seen, RESTARTING if seen.state is State.READY else seen.word)


def enter(estate: Estate, server: Server) -> None:
    """Put on the roll where the instance is, and the password of its master login, sealed."""
    provider = provider_of(estate.settings.rds, server)
    address, master = provider.endpoint(server.name), provider.master(server.name)
    with transaction(estate.engine) as session:
        row = servers.server_row(session, server.name)
        known = opened(estate.keyring, row.name, row.sealed_passwords) if row.sealed_passwords else {}
        row.host, row.port = address.host, address.port
        row.settings = {**row.settings, "admin": master.user}
        servers.set_passwords(
            session, row.name, sealed(estate.keyring, row.name, {**known, master.user: master.password})
        )


def end_instance(estate: Estate, subject: UUID) -> NotYet | None:
    """One look, and what can be done next: None once instance, parameter group and secret are gone.

    ProviderError says what has to be confirmed. Of a server that is lost nothing is asked of AWS.
    """
    if (server := _of_rds(estate, subject, ServerStatus.REMOVING)) is None:
        return None
    with transaction(estate.engine) as session:
        wish: Mapping[str, Any] = servers.server_row(session, server.name).settings.get(ENDING, {})
    provider = provider_of(estate.settings.rds, server)
    seen = provider.dismiss(server.name, confirm=wish.get("confirm"), final_snapshot=wish.get("final_snapshot", True))
    return None if seen is None else _look_again(estate.settings.rds, seen, seen.word)


def _look_again(settings: Rds, seen: RdsStatus, state: str) -> NotYet:
    return NotYet(
        what=f"RDS instance {seen.instance}",
        state=state,
        again_s=settings.poll_s,
        at_most_s=settings.ready_within_s,
    )


def _of_rds(estate: Estate, subject: UUID, status: ServerStatus) -> Server | None:
    """The server, if it is an RDS instance and as far as that."""
    with transaction(estate.engine) as session:
        name = warm.server_of(session, subject)
        server = servers.server_named(session, name) if name is not None else None
    return server if server and server.provider == RDS and server.status is status else None
