"""What a fleet migration is going to do: a pure function from the ledger's targets to steps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from migrations.fleet.chains import HOME, Chain


@dataclass(frozen=True, kw_only=True)
class Target:
    """One place a chain runs. For the home chain the schema is `tenancy`."""

    chain: str
    server: str
    database_id: UUID
    database: str
    schema: str
    revision: str | None


@dataclass(frozen=True, kw_only=True)
class Step:
    """One target and where it is brought to."""

    target: Target
    to_revision: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The steps of a run: every home before any tenant target; within each, by server and database."""

    homes: tuple[Step, ...]
    tenants: tuple[Step, ...]
    there_already: int
    ahead: tuple[Target, ...]
    """Targets past the wanted revision, or at one this version does not know: left alone, and said so."""

    @property
    def steps(self) -> tuple[Step, ...]:
        """All of them, in order."""
        return self.homes + self.tenants


def plan(targets: Iterable[Target], home_revision: str, tenant: Chain, tenant_revision: str) -> Plan:
    """Who is to be brought to which revision. Targets that are there cost nothing."""
    steps: dict[str, list[Step]] = {"home": [], "tenant": []}
    ahead: list[Target] = []
    there = 0
    for target in sorted(targets, key=lambda each: (each.server, each.database, each.chain, each.schema)):
        chain, wanted = (HOME, home_revision) if target.chain == "home" else (tenant, tenant_revision)
        if target.revision == wanted:
            there += 1
        elif chain.upgrades(target.revision, wanted):
            steps[target.chain].append(Step(target=target, to_revision=wanted))
        else:
            ahead.append(target)
    return Plan(homes=tuple(steps["home"]), tenants=tuple(steps["tenant"]), there_already=there, ahead=tuple(ahead))
