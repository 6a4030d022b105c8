"""Where a new tenant goes: a pure choice, with its reason.

Labels are the rules. Of a server: `plan-PLAN` has it take only tenants on that plan (on any one of several),
`only-LABEL` only tenants that have that label. Of a tenant: `on-LABEL` has it go only to servers that have that label,
`apart-GROUP` keeps it off every server that holds another tenant with the same label. All of them are kept or the
tenant is refused; any other label means nothing here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from control_plane.domain.errors import CopyholdError, Kind
from control_plane.domain.server import Catalogue, Server, ServerStatus
from control_plane.domain.tenant import Model, Plan

PLAN_RULE, ONLY_RULE = "plan-", "only-"
ON_RULE, APART_RULE = "on-", "apart-"


class NoServerError(CopyholdError):
    """No server can take this tenant."""

    kind = Kind.UNAVAILABLE
    code = "no_server"


class UnknownServerError(CopyholdError):
    """There is no such server."""

    kind = Kind.INVALID
    code = "server_unknown"


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What is to be placed."""

    model: Model
    plan: Plan
    labels: tuple[str, ...] = ()
    server: str | None = None
    region: str | None = None
    bytes: int = 0
    """What it brings along, as far as is known."""

    @property
    def apart(self) -> tuple[str, ...]:
        """The labels that keep it away from others that have them."""
        return tuple(label for label in self.labels if label.startswith(APART_RULE))


@dataclass(frozen=True, kw_only=True)
class Load:
    """What a server holds."""

    tenants: int = 0
    databases: int = 0
    """Each takes one of the server's connections at least. Silos that nobody lives in yet do not count."""
    roomy: frozenset[Model] = frozenset()
    """Of pool and bridge, those of which a database there takes one more tenant."""
    apart: frozenset[str] = frozenset()
    """Of the wish's `apart-` labels, those that a tenant there has."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The server chosen and why."""

    server: Server
    reason: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What was found: a choice, or none, and what speaks against each server."""

    choice: Choice | None
    objections: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By server, in words; empty for one that fits. A server that was not asked about is not among them."""

    def refusal(self, model: Model) -> str:
        """Why there is no choice."""
        reasons = "; ".join(f"{name}: {', '.join(said)}" for name, said in self.objections.items())
        return f"no server can take a {model} tenant ({reasons or 'there are no servers'})"


def choose_server(servers: Iterable[Server], loads: Mapping[str, Load], wish: Wish) -> Choice:
    """The emptiest server that fits; UnknownServerError for an unknown name, NoServerError with all objections."""
    verdict = consider(servers, loads, wish)
    if verdict.choice is None:
        raise NoServerError(verdict.refusal(wish.model))
    return verdict.choice


def consider(servers: Iterable[Server], loads: Mapping[str, Load], wish: Wish) -> Verdict:
    """The same as something to look at; UnknownServerError all the same. The servers' order makes no difference."""
    known = sorted(servers, key=lambda server: server.name)
    if wish.server is not None and wish.server not in {server.name for server in known}:
        raise UnknownServerError(f"there is no server {wish.server!r}", server=wish.server)
    asked = [server for server in known if wish.server in (None, server.name)]
    load_of = {server.name: loads.get(server.name, Load()) for server in asked}
    objections = {server.name: tuple(_objections(server, load_of[server.name], wish)) for server in asked}
    fitting = [server for server in asked if not objections[server.name]]
    if not fitting:
        return Verdict(choice=None, objections=objections)
    best = min(fitting, key=lambda server: (_fullness(server, load_of[server.name], wish.model), server.name))
    room = best.capacity - load_of[best.name].tenants
    if wish.server is not None:
        reason = f"{best.name} was asked for, and has room for {room}"
    else:
        reason = f"{len(fitting)} of {len(asked)} servers fit; {best.name} has room for {room}"
    return Verdict(choice=Choice(server=best, reason=reason), objections=objections)


def open_catalogue(found: Catalogue) -> str:
    """Why tenants may not share a database on a server, after its name."""
    if found is Catalogue.OPEN:
        return "takes silos alone while its catalogue is open: see `copyhold server catalogue`"
    return "takes silos alone until its catalogue has been looked at: `copyhold server catalogue` does"


def _objections(server: Server, load: Load, wish: Wish) -> Iterator[str]:
    if wish.model not in server.models:
        yield f"takes no {wish.model} tenants"
    if wish.region not in (None, server.region):
        yield f"is in {server.region}"
    if server.status is not ServerStatus.ACTIVE:
        yield f"is {server.status}"
    if wish.model is not Model.SILO and not server.may_share:
        yield open_catalogue(server.catalogue)
    yield from _want_of_room(server, load, wish)
    yield from _broken_rules(server, load, wish)


def _want_of_room(server: Server, load: Load, wish: Wish) -> Iterator[str]:
    if load.tenants >= server.capacity:
        yield f"is full ({load.tenants} tenants)"
    used, limit = server.used_bytes or 0, server.capacity_bytes
    if limit is not None and used >= limit:
        yield f"is full ({used} of {limit} bytes)"
    elif limit is not None and used + wish.bytes > limit:
        yield f"has no room for {wish.bytes} bytes more ({used} of {limit})"
    if _needs_database(load, wish.model) and load.databases >= server.connections:
        yield f"has no connection for one more database ({load.databases} for {server.connections} connections)"


def _broken_rules(server: Server, load: Load, wish: Wish) -> Iterator[str]:
    plans = sorted(label.removeprefix(PLAN_RULE) for label in server.labels if label.startswith(PLAN_RULE))
    if plans and str(wish.plan) not in plans:
        yield f"takes only the plan {' or '.join(plans)}"
    for label in sorted(server.labels):
        if label.startswith(ONLY_RULE) and (wanted := label.removeprefix(ONLY_RULE)) not in wish.labels:
            yield f"takes only tenants labelled {wanted}"
    for label in sorted(wish.labels):
        if label.startswith(ON_RULE) and (wanted := label.removeprefix(ON_RULE)) not in server.labels:
            yield f"is not labelled {wanted}"
    for label in sorted(load.apart & set(wish.apart)):
        yield f"holds another tenant labelled {label}"


def _needs_database(load: Load, model: Model) -> bool:
    return model not in load.roomy


def _fullness(server: Server, load: Load, model: Model) -> float:
    """The largest of its shares in use; only asked of servers that have some room, and so divided by no zero."""
    shares = [load.tenants / server.capacity]
    if server.capacity_bytes is not None:
        shares.append((server.used_bytes or 0) / server.capacity_bytes)
    if server.capacity_per_minute:
        shares.append((server.per_minute or 0) / server.capacity_per_minute)
    if _needs_database(load, model):
        shares.append(load.databases / server.connections)
    return max(shares)
