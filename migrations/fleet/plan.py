"""What a run over the fleet is going to do: a pure function from targets and somebody's wishes to waves of steps."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from control_plane.domain.tenant import Model, Status
from control_plane.domain.tenant import Plan as TenantPlan
from migrations.fleet.chains import HOME, Chain
from migrations.fleet.wishes import Chosen, Wishes, wave_ends


@dataclass(frozen=True, kw_only=True)
class Occupant:
    """The one tenant of a bridge schema or silo."""

    id: UUID
    slug: str
    plan: str
    status: str
    labels: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Target:
    """One place a chain runs. For the home chain the schema is `tenancy`."""

    chain: str
    server: str
    database_id: UUID
    database: str
    schema: str
    revision: str | None
    model: str
    occupant: Occupant | None = None

    def meets_any(self, chosen: Chosen) -> bool:
        """Whether one of the conditions holds."""
        return any(self._held(chosen))

    def meets_all(self, chosen: Chosen) -> bool:
        """Whether every condition holds that is given."""
        given = (chosen.names, chosen.labels, chosen.plans, chosen.servers)
        return all(held for wanted, held in zip(given, self._held(chosen), strict=True) if wanted)

    def _held(self, chosen: Chosen) -> tuple[bool, ...]:
        who = self.occupant
        return (
            self.database in chosen.names or (who is not None and {who.slug, str(who.id)} & set(chosen.names) != set()),
            who is not None and bool(set(who.labels) & set(chosen.labels)),
            who is not None and who.plan in chosen.plans,
            self.server in chosen.servers,
        )


@dataclass(frozen=True, kw_only=True)
class Step:
    """One target and where it is brought to."""

    target: Target
    to_revision: str


@dataclass(frozen=True, kw_only=True)
class Wave:
    """Steps that are taken together. Number 0 is the homes' own chain."""

    number: int
    steps: tuple[Step, ...]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The waves of a run, each begun when the one before has ended well."""

    waves: tuple[Wave, ...]
    there_already: int
    ahead: tuple[Target, ...]
    """Targets past the wanted revision, or at one this version does not know: left alone, and said so."""

    @property
    def steps(self) -> tuple[Step, ...]:
        """All of them, in order."""
        return tuple(step for wave in self.waves for step in wave.steps)


def plan(targets: Iterable[Target], home_revision: str, tenant: Chain, wishes: Wishes) -> Plan:
    """Who is to be brought to which revision, and when. Targets that are there cost nothing."""
    ordered = sorted(targets, key=lambda each: (each.server, each.database, each.chain, each.schema))
    chosen = [target for target in ordered if target.chain != HOME.name and target.meets_all(wishes.only)]
    rest, ahead, there = _sorted_out(chosen, tenant, tenant.checked(wishes.to), down=wishes.down)
    homes: list[Step] = []
    if not wishes.down:
        theirs = {target.database_id for target in chosen} if wishes.only else None
        own = [t for t in ordered if t.chain == HOME.name and (theirs is None or t.database_id in theirs)]
        homes, homes_ahead, homes_there = _sorted_out(own, HOME, home_revision, down=False)
        ahead, there = homes_ahead + ahead, homes_there + there
    waves = [Wave(number=0, steps=tuple(homes))] if homes else []
    return Plan(waves=(*waves, *_waves(rest, wishes)), there_already=there, ahead=tuple(ahead))


def _sorted_out(
    targets: Sequence[Target], chain: Chain, wanted: str, *, down: bool
) -> tuple[list[Step], list[Target], int]:
    steps, ahead, there = [], [], 0
    for target in targets:
        if target.revision == wanted:
            there += 1
        elif _leads(chain, target.revision, wanted, down=down):
            steps.append(Step(target=target, to_revision=wanted))
        elif down and (target.revision is None or target.revision in chain.revisions):
            there += 1  # not as far yet as what is taken back
        else:
            ahead.append(target)
    return steps, ahead, there


def _leads(chain: Chain, current: str | None, wanted: str, *, down: bool) -> bool:
    if not down:
        return chain.upgrades(current, wanted)
    return current in chain.revisions and chain.upgrades(wanted, str(current))


def _waves(steps: Sequence[Step], wishes: Wishes) -> Iterable[Wave]:
    canaries = [step for step in steps if step.target.meets_any(wishes.canaries)]
    others = [step for step in steps if not step.target.meets_any(wishes.canaries)]
    others.sort(key=lambda step: _rank(step.target, wishes))
    starts = (0, *wave_ends(wishes.waves, len(others)))
    groups = [canaries, *(others[start:end] for start, end in itertools.pairwise(starts))]
    return [Wave(number=number, steps=tuple(group)) for number, group in enumerate(filter(None, groups), 1)]


def _rank(target: Target, wishes: Wishes) -> tuple[int, int]:
    """Enterprise silos as wished; tenants that are being moved last, so that the move may end before; pools, in which
    many live, after schemas and databases in which one does.
    """
    who = target.occupant
    precious = who is not None and target.model == Model.SILO and who.plan == TenantPlan.ENTERPRISE
    rank = {"first": 0, "last": 3, "mixed": 1}[wishes.enterprise] if precious else 1
    if who is not None and who.status == Status.MOVING:
        rank = 4
    return rank, int(target.model == Model.POOL)
