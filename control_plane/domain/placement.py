"""Where a new tenant goes: a pure choice, with its reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from control_plane.domain.errors import CopyholdError, Kind
from control_plane.domain.server import Server, ServerStatus
from control_plane.domain.tenant import Model


class NoServerError(CopyholdError):
    """No server can take this tenant."""

    kind = Kind.UNAVAILABLE
    code = "no_server"


class UnknownServerError(CopyholdError):
    """There is no such server."""

    kind = Kind.INVALID
    code = "server_unknown"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The server chosen and why."""

    server: Server
    reason: str


def choose_server(
    servers: Iterable[Server],
    tenants_on: Mapping[str, int],
    model: Model,
    *,
    named: str | None = None,
    region: str | None = None,
) -> Choice:
    """The fitting server with the most room; UnknownServerError for an unknown name, NoServerError with reasons."""
    servers = list(servers)
    if named is not None and named not in {server.name for server in servers}:
        raise UnknownServerError(f"there is no server {named!r}", server=named)
    candidates = [server for server in servers if named in (None, server.name)]
    against = {server.name: _objection(server, tenants_on.get(server.name, 0), model, region) for server in candidates}
    fitting = [server for server in candidates if against[server.name] is None]
    if not fitting:
        reasons = "; ".join(f"{name}: {objection}" for name, objection in against.items())
        raise NoServerError(f"no server can take a {model} tenant ({reasons or 'there are no servers'})")
    best = min(fitting, key=lambda server: (tenants_on.get(server.name, 0) / server.capacity, server.name))
    room = best.capacity - tenants_on.get(best.name, 0)
    return Choice(
        server=best, reason=f"{len(fitting)} of {len(candidates)} servers fit; {best.name} has room for {room}"
    )


def _objection(server: Server, tenants: int, model: Model, region: str | None) -> str | None:
    if model not in server.models:
        return f"takes no {model} tenants"
    if region is not None and server.region != region:
        return f"is in {server.region}"
    if server.status is not ServerStatus.ACTIVE:
        return f"is {server.status}"
    if tenants >= server.capacity:
        return f"is full ({tenants} tenants)"
    return None
