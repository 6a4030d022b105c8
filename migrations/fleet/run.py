"""The fleet: where its targets are, what a run would do, and running it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from uuid import UUID

from sqlalchemy import Engine

from control_plane import audit
from control_plane.domain.errors import ConflictError, CopyholdError, Kind
from control_plane.domain.ids import new_id
from control_plane.domain.server import ServerStatus
from control_plane.doors import Doors
from control_plane.registry import fleet, fleet_runs, reports, servers
from control_plane.registry.engine import transaction
from control_plane.registry.fleet import FleetBusyError, Revisions
from control_plane.registry.tables import MigrationRunRow
from control_plane.registry.ways_back import WayBack, ways_back
from migrations.fleet import gate, reality
from migrations.fleet.chains import HOME, Chain
from migrations.fleet.events import STOPPED_BY_SOMEBODY, Hands, Report
from migrations.fleet.going import Going, recorded
from migrations.fleet.listening import listening
from migrations.fleet.naming import by_place, named
from migrations.fleet.plan import Occupant, Plan, Step, Target, Wave, plan
from migrations.fleet.wishes import Wishes


class NothingToResumeError(ConflictError):
    """That run has nothing left to do."""

    code = "nothing_to_resume"


class FleetMigration:
    """One fleet, one tenant chain: look at it, plan, run."""

    def __init__(self, engine: Engine, chain: Chain, doors: Doors) -> None:
        self._engine, self._chain, self._doors = engine, chain, doors

    def targets(self) -> list[Target]:
        """Every target of both chains as the ledger knows it; what was on a lost server is none any more."""
        with transaction(self._engine) as session:
            known = servers.all_servers(session)
            lost = {server.name for server in known if server.status is ServerStatus.LOST}
            homes = [
                Target(
                    chain=HOME.name,
                    server=row.server,
                    database_id=row.id,
                    database=row.name,
                    schema="tenancy",
                    revision=row.home_revision,
                    model=row.model,
                )
                for row in servers.all_databases(session)
                if row.home_revision is not None
            ]
            tables = [_placed(target) for target in fleet.placed_targets(session)]
        return [target for target in homes + tables if target.server not in lost]

    def plan(self, wishes: Wishes | None = None) -> Plan:
        """What `run` would do; changes nothing. NotFoundError for a tenant, database or server that there is not."""
        return self._plan(self._named((wishes or Wishes()).checked()))

    def _plan(self, chosen: Wishes) -> Plan:
        return plan(self._seen() if chosen.verify else self.targets(), HOME.head, self._chain, chosen)

    def blockers(self, wishes: Wishes, steps: Iterable[Step]) -> list[gate.Blocker]:
        """The processes that run now and would not work with what those steps do."""
        leaving = {step.target.revision for step in steps if step.target.chain != HOME.name}
        with transaction(self._engine) as session:
            return gate.blocking(session, self._chain, self._chain.checked(wishes.to), leaving)

    def ways_back_lost(self, steps: Iterable[Step]) -> list[WayBack]:
        """Tenants that could not be had back any more in the homes that they have left, once those steps are taken."""
        migrated = {(step.target.database_id, step.target.schema) for step in steps if step.target.chain != HOME.name}
        with transaction(self._engine) as session:
            return [way for way in ways_back(session) if way.through & migrated]

    def run(self, wishes: Wishes, actor: str, hands: Hands) -> Report:
        """Bring the chosen targets there, wave after wave.

        New homes are built at the revision once the first wave has ended well; those made before that are brought
        along at the end. FleetBusyError while another goes on, OldProcessesError while processes need the old shape.
        """
        wished = replace(self._named(wishes.checked()), to=self._chain.checked(wishes.to))
        run_id = new_id()
        with fleet.holding_fleet(self._engine, run_id) as still_held:
            work = self._plan(wished)
            if not work.steps:
                self._set_wanted(wished)
                return _nothing_to_do(work)
            self._refuse_what_cannot_be(wished, work)
            with transaction(self._engine) as session:
                verb = "migrate.down" if wished.down else "migrate.up"
                audit.record(session, actor, verb, wished.to, targets=len(work.steps), run=str(run_id))
            with listening(self._engine, run_id, hands.stop):
                return self._going(run_id, wished, actor, hands, still_held).through(work)

    def resume(self, run_id: UUID, actor: str, hands: Hands, *, failed_only: bool = False) -> Report:
        """Go on with a run that did not end, or with what failed in it, from where its targets really are.

        Those of a server that does not answer fail again, and keep nobody else from it.
        NotFoundError for an unknown run; NothingToResumeError when all of it is done.
        """
        with transaction(self._engine) as session:
            row, _ = reports.run(session, run_id)
            wished = by_place(session, Wishes.from_ledger(row.options) if row.options else Wishes(to=row.to_revision))
            left = {(each.database_id, each.chain, each.schema): each.wave
                    for each in fleet.unfinished(session, run_id, failed_only=failed_only)}  # fmt: skip
        wished = replace(wished, to=row.to_revision)
        if not left:
            raise NothingToResumeError(f"run {run_id} has nothing left to do")
        with fleet.holding_fleet(self._engine, run_id) as still_held:
            among = [each for each in self.targets() if (each.database_id, each.chain, each.schema) in left]
            with transaction(self._engine) as session:
                known = {server.name: server for server in servers.all_servers(session)}
            seen = reality.seen(self._doors, known, among, or_recorded=True)
            looked = plan(seen, HOME.head, self._chain, wished)
            waves: dict[int, list[Step]] = {}
            for step in looked.steps:
                target = step.target
                waves.setdefault(left[target.database_id, target.chain, target.schema], []).append(step)
            work = replace(
                looked, waves=tuple(Wave(number=n, steps=tuple(steps)) for n, steps in sorted(waves.items()))
            )
            self._refuse_what_cannot_be(wished, work)
            going = self._going(run_id, wished, actor, hands, still_held, retry=failed_only)
            going.settle(seen, work)
            with listening(self._engine, run_id, hands.stop):
                return going.through(work)

    def carry_out(self, run_id: UUID, hands: Hands) -> Report | None:
        """Do a run that was requested, or go on with it if somebody died over it; None when there is nothing to do.

        What is wrong with its wishes ends it as failed, the reason on record. FleetBusyError while another goes on.
        """
        with transaction(self._engine) as session:
            row = fleet_runs.get(session, run_id)
            if row.state == fleet_runs.STOPPING:
                fleet.end_run(session, run_id, fleet_runs.STOPPED, STOPPED_BY_SOMEBODY)
        if row.state not in {fleet_runs.REQUESTED, fleet_runs.RUNNING, fleet_runs.INTERRUPTED}:
            return None
        try:
            return self._carried_out(row, hands)
        except FleetBusyError:
            raise
        except CopyholdError as error:
            if error.kind is Kind.UNAVAILABLE:
                raise
            with transaction(self._engine) as session:
                fleet.end_run(session, run_id, "failed", error.message)
            return None

    def _carried_out(self, row: MigrationRunRow, hands: Hands) -> Report | None:
        wished = self._named(Wishes.from_ledger(row.options).checked())
        wished = replace(wished, to=self._chain.checked(row.to_revision))
        with transaction(self._engine) as session:
            left = fleet.unfinished(session, row.id, failed_only=False)
            begun = not left or fleet_runs.begin(session, row.id)
        if not begun:
            return None  # stopped, since it was looked at
        if left:
            return self.resume(row.id, row.actor, hands)
        with fleet.holding_fleet(self._engine, row.id) as still_held:
            with transaction(self._engine) as session:
                if not fleet_runs.begin(session, row.id):
                    return None
            work = self._plan(wished)
            if work.steps:
                self._refuse_what_cannot_be(wished, work)
                with listening(self._engine, row.id, hands.stop):
                    return self._going(row.id, wished, row.actor, hands, still_held).through(work)
            self._set_wanted(wished)
            differs = hands.compare(row.id) if hands.compare is not None else None
            with transaction(self._engine) as session:
                fleet.end_run(session, row.id, "failed" if differs else "done", differs)
            return _nothing_to_do(work)

    def _going(
        self,
        run_id: UUID,
        wishes: Wishes,
        actor: str,
        hands: Hands,
        still_held: Callable[[], None],
        *,
        retry: bool = False,
    ) -> Going:
        return Going(
            engine=self._engine,
            chain=self._chain,
            doors=self._doors,
            run_id=run_id,
            wishes=wishes,
            actor=actor,
            hands=hands,
            still_held=still_held,
            set_wanted=lambda: self._set_wanted(wishes),
            replan=lambda: self._plan(replace(wishes, verify=False)),
            blockers=lambda wave: self.blockers(wishes, wave.steps),
            retry=retry,
        )

    def _named(self, wishes: Wishes) -> Wishes:
        with transaction(self._engine) as session:
            return named(session, wishes)

    def _seen(self) -> list[Target]:
        with transaction(self._engine) as session:
            known = {server.name: server for server in servers.all_servers(session)}
        found = reality.seen(self._doors, known, before := self.targets())
        changed = [
            recorded(target, "done", target.revision)
            for target, was in zip(_in_order(found), _in_order(before), strict=True)
            if target.revision != was.revision
        ]
        with transaction(self._engine) as session:
            fleet.record_outcomes(session, new_id(), changed)
        return found

    def _refuse_what_cannot_be(self, wishes: Wishes, work: Plan) -> None:
        """What cannot be compiled, or is in the way of processes that run, is found before anything is touched."""
        HOME.compiled(None, HOME.head)
        if wishes.down:
            self._chain.compiled(self._chain.head, wishes.to)
        else:
            self._chain.compiled(None, wishes.to)
        gate.refuse_contract(self.blockers(wishes, work.steps), wishes.to)

    def _set_wanted(self, wishes: Wishes) -> None:
        """Have new homes built where the fleet is brought to. An older version of this program lowers nothing."""
        if wishes.only:
            return
        with transaction(self._engine) as session:
            before = fleet.wanted(session)
            if wishes.down:
                if before.tenant not in self._chain.revisions:
                    return  # a newer program's
                fleet.set_wanted(session, Revisions(home=before.home, tenant=wishes.to), replace=True)
                return
            home = HOME.head if HOME.upgrades(before.home, HOME.head) else before.home
            tenant = wishes.to if self._chain.upgrades(before.tenant, wishes.to) else before.tenant
            fleet.set_wanted(session, Revisions(home=home, tenant=tenant), replace=True)


def _nothing_to_do(work: Plan) -> Report:
    return Report(
        run_id=None, state="done", reason=None, done=0, failed=(), not_started=0,
        there_already=work.there_already, ahead=work.ahead, duration_ms=0,
    )  # fmt: skip


def _placed(target: fleet.PlacedTarget) -> Target:
    occupant = None
    if target.tenant_id is not None:
        occupant = Occupant(
            id=target.tenant_id,
            slug=str(target.slug),
            plan=str(target.plan),
            status=str(target.status),
            labels=tuple(target.labels or ()),
        )
    return Target(
        chain="tenant",
        server=target.server,
        database_id=target.database_id,
        database=target.database,
        schema=target.schema,
        revision=target.revision,
        model=target.model,
        occupant=occupant,
    )


def _in_order(targets: Iterable[Target]) -> list[Target]:
    return sorted(targets, key=lambda each: (str(each.database_id), each.chain, each.schema))
