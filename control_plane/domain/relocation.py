"""Who should live elsewhere: pure plans to empty a server, and to even servers out.

`placement` alone says who fits where. A plan is made on paper: each journey is entered before the next is looked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from control_plane.domain.placement import APART_RULE, Load, Verdict, Wish, consider
from control_plane.domain.server import Server, ServerStatus
from control_plane.domain.tenant import Model, Plan

UNBOUNDED = 2**31
"""Places of a database that is never full."""
GAP_BEGUN_AT = 0.2
"""Servers are evened out when the share of one that is in use is larger than another's by more than this,"""
GAP_LEFT = 0.1
"""and then until it is by no more than this, so that little changes move nobody."""
MOVE_S = 2.0
"""What a move takes however small the tenant is; see `provisioning.moves.expecting`."""
BYTES_A_SECOND = 20_000_000
"""80,000 rows a second were copied, of some 250 bytes with their indexes."""


@dataclass(frozen=True, kw_only=True)
class Resident:
    """A tenant where it lives, or where it is being moved to."""

    id: UUID
    slug: str
    server: str
    model: Model
    plan: Plan
    labels: tuple[str, ...] = ()
    region: str | None = None
    bytes: int = 0
    """Of a pool or bridge: of what is there, one tenant's share."""
    per_minute: int = 0
    """Transactions; of a pool or bridge a share as well."""
    obstacle: str | None = None
    """Why it cannot be moved now, in words."""
    passing: bool = False
    """Whether that passes by itself in a moment."""

    @property
    def wish(self) -> Wish:
        """The tenant as something to place, housed as it is."""
        return Wish(model=self.model, plan=self.plan, labels=self.labels, region=self.region, bytes=self.bytes)


@dataclass(frozen=True, kw_only=True)
class Held:
    """What a server holds."""

    tenants: int = 0
    """Homes, those that are filled or kept included."""
    databases: int = 0
    places: Mapping[Model, int] = field(default_factory=dict)
    """Of pool and bridge, how many tenants more those take that are there."""
    labels: Mapping[str, int] = field(default_factory=dict)
    """How many homes there are of tenants with each `apart-` label."""


@dataclass(frozen=True, kw_only=True)
class Housing:
    """All that a plan is made from."""

    servers: Sequence[Server]
    held: Mapping[str, Held]
    residents: Sequence[Resident]
    full_at: Mapping[Model, int]
    """With how many tenants a pool or bridge is full."""


@dataclass(frozen=True, kw_only=True)
class Journey:
    """One who is to live elsewhere, and why there."""

    resident: Resident
    to: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Stay:
    """One who cannot leave, and why."""

    resident: Resident
    reason: str


def seconds_for(journeys: Sequence[Journey], at_once: int) -> float:
    """How long so many moves take, so many of them at once, as far as is known beforehand."""
    copied = sum(journey.resident.bytes for journey in journeys) / BYTES_A_SECOND
    return round((MOVE_S * len(journeys) + copied) / at_once, 1)


def emptying(housing: Housing, server: str) -> Iterator[Journey | Stay]:
    """Where each who lives on that server would go, the largest first; how each is housed stays as it is."""
    books = _Books(housing)
    there = [resident for resident in housing.residents if resident.server == server]
    for resident in sorted(there, key=lambda each: (-each.bytes, each.slug)):
        if resident.obstacle is not None:
            yield Stay(resident=resident, reason=resident.obstacle)
            continue
        verdict = books.verdict(resident, but=server)
        if verdict.choice is None:
            yield Stay(resident=resident, reason=verdict.refusal(resident.model))
            continue
        to = verdict.choice.server.name
        books.enter(resident, to)
        yield Journey(resident=resident, to=to, reason=verdict.choice.reason)


def evening_out(housing: Housing, limit: int | None = None) -> list[Journey]:
    """Who should move for servers to be used evenly, `limit` tenants at most; nobody while they nearly are.

    Each step takes from a server that is used more and gives to one that is used less, and both are then used less
    than the first was: so it ends, and a plan made after this one was carried out is empty.
    """
    books = _Books(housing)
    found: dict[UUID, Journey] = {}
    came_from = {resident.id: resident.server for resident in housing.residents}
    while limit is None or len(found) < limit:
        step = books.next_step(GAP_LEFT if found else GAP_BEGUN_AT)
        if step is None:
            break
        books.leave(step.resident)
        books.enter(step.resident, step.to)
        found.pop(step.resident.id, None)
        if step.to != came_from[step.resident.id]:
            found[step.resident.id] = step
    return list(found.values())


class _Books:
    """Servers and tenants as they would be after the journeys that were entered."""

    def __init__(self, housing: Housing) -> None:
        self._servers = {server.name: server for server in housing.servers}
        self._full_at = housing.full_at
        held = {name: housing.held.get(name, Held()) for name in self._servers}
        self._tenants = {name: each.tenants for name, each in held.items()}
        self._databases = {name: each.databases for name, each in held.items()}
        self._places = {name: dict(each.places) for name, each in held.items()}
        self._labels = {name: Counter(each.labels) for name, each in held.items()}
        self._used = {name: server.used_bytes or 0 for name, server in self._servers.items()}
        self._busy = {name: server.per_minute or 0 for name, server in self._servers.items()}
        self._residents = {resident.id: resident for resident in housing.residents}

    def verdict(self, resident: Resident, *, but: str | None = None) -> Verdict:
        """Where it would go now, anywhere but there."""
        servers = [self._as_used(name) for name in self._servers if name != but]
        return consider(servers, {name: self._load(name) for name in self._servers}, resident.wish)

    def enter(self, resident: Resident, to: str) -> None:
        """It lives there from now on."""
        if self._needs_database(resident.model, to):
            self._databases[to] += 1
            if resident.model is not Model.SILO:
                self._places[to][resident.model] = self._full_at.get(resident.model, UNBOUNDED)
        if resident.model is not Model.SILO:
            self._places[to][resident.model] -= 1
        self._count(resident, to, 1)
        self._residents[resident.id] = replace(resident, server=to)

    def leave(self, resident: Resident) -> None:
        """It is gone from where it lives, and what it had there with it."""
        if resident.model is Model.SILO:
            self._databases[resident.server] -= 1
        else:
            places = self._places[resident.server]
            places[resident.model] = places.get(resident.model, 0) + 1
        self._count(resident, resident.server, -1)

    def next_step(self, gap: float) -> Journey | None:
        """The one journey that helps most, from the server used most from which one helps."""
        active = [name for name, server in self._servers.items() if server.status is ServerStatus.ACTIVE]
        use = {name: self._use(name) for name in active}
        for source in sorted(active, key=lambda name: (-use[name], name)):
            emptier = [name for name in sorted(active) if use[source] - use[name] > gap]
            steps = (
                step for each in self._kinds(source) for to in emptier if (step := self._step(each, to, use[source]))
            )
            best = min(steps, key=lambda step: (step[0], step[1].resident.bytes, step[1].resident.slug), default=None)
            if best is not None:
                return best[1]
        return None

    def _kinds(self, server: str) -> list[Resident]:
        """Of those who live there and may move, one of each kind: it makes no difference which of them goes."""
        found: dict[object, Resident] = {}
        for each in self._residents.values():
            if each.server == server and each.obstacle is None:
                kind = (each.model, each.plan, each.labels, each.region, each.bytes, each.per_minute)
                if kind not in found or each.slug < found[kind].slug:
                    found[kind] = each
        return list(found.values())

    def _step(self, resident: Resident, to: str, most: float) -> tuple[float, Journey] | None:
        """How much the fuller of the two would be used then; None when that is no less, or it does not fit."""
        wish = replace(resident.wish, server=to)
        choice = consider([self._as_used(to)], {to: self._load(to)}, wish).choice
        if choice is None:
            return None
        new = self._needs_database(resident.model, to)
        left = self._use(resident.server, resident, -1, -1 if resident.model is Model.SILO else 0)
        then = max(left, self._use(to, resident, 1, int(new)))
        return (then, Journey(resident=resident, to=to, reason=self._because(resident, to))) if then < most else None

    def _because(self, resident: Resident, to: str) -> str:
        return f"{resident.server} is used to {self._use(resident.server):.0%}, {to} to {self._use(to):.0%}"

    def _use(self, name: str, resident: Resident | None = None, sign: int = 0, databases: int = 0) -> float:
        """The largest of a server's shares in use; with that tenant and so many databases more, or less."""
        server = self._servers[name]
        size, busy = (sign * resident.bytes, sign * resident.per_minute) if resident is not None else (0, 0)
        shares = [
            (self._tenants[name] + sign) / max(1, server.capacity),
            (self._databases[name] + databases) / max(1, server.connections),
        ]
        if server.capacity_bytes is not None:
            shares.append((self._used[name] + size) / max(1, server.capacity_bytes))
        if server.capacity_per_minute is not None:
            shares.append((self._busy[name] + busy) / max(1, server.capacity_per_minute))
        return max(shares)

    def _as_used(self, name: str) -> Server:
        return replace(self._servers[name], used_bytes=self._used[name], per_minute=self._busy[name])

    def _load(self, name: str) -> Load:
        places = self._places[name]
        return Load(
            tenants=self._tenants[name],
            databases=self._databases[name],
            roomy=frozenset(model for model in places if places[model] > 0),
            apart=frozenset(label for label, number in self._labels[name].items() if number > 0),
        )

    def _needs_database(self, model: Model, server: str) -> bool:
        return model is Model.SILO or self._places[server].get(model, 0) <= 0

    def _count(self, resident: Resident, server: str, sign: int) -> None:
        self._tenants[server] += sign
        self._used[server] += sign * resident.bytes
        self._busy[server] += sign * resident.per_minute
        for label in resident.labels:
            if label.startswith(APART_RULE):
                self._labels[server][label] += sign
