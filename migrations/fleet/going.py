"""One run that goes on: wave after wave, many targets at once, each outcome in the ledger as soon as it is known.

The databases are the truth and the ledger follows them: a crash at any point loses no more than the last moment's
entries, and whoever goes on looks where the targets really are.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any
from uuid import UUID

import psycopg
from sqlalchemy import Engine

from control_plane.domain.errors import CopyholdError
from control_plane.domain.server import Server
from control_plane.doors import Doors
from control_plane.registry import fleet, servers
from control_plane.registry.engine import transaction
from control_plane.registry.fleet import TargetOutcome
from control_plane.registry.tables import MigrationRunRow
from control_plane.version import code_version
from migrations.fleet import gate, health, shapes
from migrations.fleet.chains import HOME, Chain, Phase
from migrations.fleet.crew import Crew, Halt, Outcome
from migrations.fleet.events import STOPPED_BY_SOMEBODY, Began, Hands, Report, WaveBegan, WaveEnded
from migrations.fleet.plan import Plan, Step, Target, Wave
from migrations.fleet.python_runs import PythonRuns
from migrations.fleet.reaching import Reaching
from migrations.fleet.replay import Database, NotMigratedError, Script
from migrations.fleet.wishes import Wishes, failures_allowed
from migrations.fleet.words import in_words

MIGRATOR = "copyhold_migrator"
SWEEPS = 3
"""How often a run looks for targets that were made while it went on."""
HEALTHY_WITHIN_S = 10.0
HEALTH_POLL_S = 0.5


@dataclass(kw_only=True)
class Going:
    """One run that goes on."""

    engine: Engine
    chain: Chain
    doors: Doors
    run_id: UUID
    wishes: Wishes
    actor: str
    hands: Hands
    still_held: Callable[[], None]
    """Raises when the fleet is not this run's any more: asked before every entry in the ledger."""
    set_wanted: Callable[[], None]
    """Has new homes built at the revision from now on."""
    replan: Callable[[], Plan]
    """What there is to do now, by the ledger."""
    blockers: Callable[[Wave], Sequence[gate.Blocker]]
    """The processes that run now and would not work with what a wave does."""
    retry: bool = False
    """Whether this is about what failed in the run, and nothing else."""

    def __post_init__(self) -> None:
        self._started = time.monotonic()
        self._outcomes: list[Outcome] = []
        self._python = PythonRuns()
        self._scripts: dict[_Kind, Script] = {}
        self._compiling = threading.Lock()
        self._checks: dict[_Kind, str | None] = {}
        self._unsafe: set[UUID] = set()
        self._reaching = Reaching()

    def through(self, work: Plan) -> Report:
        """Every wave, then what was made meanwhile; the report and the ledger agree."""
        self._open(work)
        state, reason = "interrupted", None
        try:
            reason = self._waves(work.waves)
            if reason is None:
                last = max((wave.number for wave in work.waves), default=0)
                reason = self._not_begun() if self.retry else self._latecomers(last)
            failed = any(outcome.error for outcome in self._outcomes)
            differs = None if reason or failed or self.hands.compare is None else self.hands.compare(self.run_id)
            state = "stopped" if reason else "failed" if failed or differs else "done"
            reason = reason or differs
        finally:
            self._python.close()
            with transaction(self.engine) as session:
                fleet.end_run(session, self.run_id, state, reason)
        return self._report(work, state, reason)

    def settle(self, seen: Sequence[Target], work: Plan) -> None:
        """Record those of `seen` with which there is nothing to do, at the revision at which they were seen."""
        to_do = {step.target for step in work.steps}
        rows = [recorded(target, "done", target.revision) for target in seen if target not in to_do]
        with transaction(self.engine) as session:
            fleet.record_outcomes(session, self.run_id, rows)

    def _open(self, work: Plan) -> None:
        row = MigrationRunRow(
            id=self.run_id,
            to_revision=self.wishes.to,
            actor=self.actor,
            state="running",
            direction="down" if self.wishes.down else "up",
            code_version=code_version(),
            options=self.wishes.for_ledger(),
            reason=None,
            ended_at=None,
        )
        with transaction(self.engine) as session:
            gate.publish(session, self.chain)
            fleet.start_run(session, row)
            fleet.plan_targets(session, [row for wave in work.waves for row in _rows(self.run_id, wave)])
        self.hands.tell(Began(run_id=self.run_id, plan=work))

    def _waves(self, waves: Sequence[Wave]) -> str | None:
        """Why it stopped before the end, if it did."""
        for position, wave in enumerate(waves):
            if position and (reason := self._held_back(waves[position - 1], wave)):
                return reason
            if reason := self._wave(wave):
                return reason
            first_tenants = wave.number > 0 and not any(before.number for before in waves[:position])
            if first_tenants or (wave.number == 0 and len(waves) == 1):
                self.set_wanted()
        return None

    def _wave(self, wave: Wave) -> str | None:
        self.hands.tell(WaveBegan(number=wave.number, targets=len(wave.steps)))
        allowed = failures_allowed(self.wishes.max_failures, len(wave.steps))
        done = failed = 0
        halt = Halt(self.hands.stop, allowed)
        for batch in self._carried_out(wave.steps, halt):
            self._record(batch)
            failed += sum(1 for outcome in batch if outcome.error)
            done += sum(1 for outcome in batch if not outcome.error)
            for outcome in batch:
                self.hands.tell(outcome)
        reason = None
        if self.hands.stop.is_set():
            reason = STOPPED_BY_SOMEBODY
        elif failed > allowed:
            reason = f"{failed} of wave {wave.number} failed, {allowed} may ({self.wishes.max_failures})"
        self.hands.tell(WaveEnded(number=wave.number, done=done, failed=failed, stopped=reason))
        return reason

    def _carried_out(self, steps: Sequence[Step], halt: Halt) -> Generator[list[Outcome], None, None]:
        self._reaching = Reaching()  # a server that was away may be there again
        safe = [step for step in steps if step.target.database_id not in self._unsafe]
        kept = [step for step in steps if step.target.database_id in self._unsafe]

        def do(database: Database | Exception, step: Step) -> Outcome:
            outcome = self._do(database, step)
            if outcome.error:
                halt.count_failure()  # here: told of it later, the crew would have begun others
            return outcome

        crew = Crew(at_once=self.wishes.at_once, open_database=self._database, do=do, stop=halt)
        others: list[Step] = []
        for kind, steps_of_kind in _by_kind(safe).items():
            yield from self._scouted(kind, steps_of_kind, do, halt)
            others += steps_of_kind
        # Closed at once when the ledger cannot be written: what has not begun then does not begin.
        with closing(crew.carry_out(others)) as arriving:
            yield from arriving
        if kept:
            reason = "the tenancy schema of its database failed first"
            yield [Outcome(step=step, error=reason, duration_ms=0, attempts=0) for step in kept]

    def _scouted(self, kind: _Kind, steps: list[Step], do: _Do, halt: Halt) -> Iterator[list[Outcome]]:
        """The first of a kind goes ahead of the others: what changes in it is what has to have changed in them."""
        while steps and kind not in self._checks and not halt.is_set():
            step = steps.pop(0)
            database = self._database_or_reason(step.target)
            with closing(database) if isinstance(database, Database) else nullcontext():
                before = self._objects(database, step)
                outcome = do(database, step)
                if outcome.error is None and outcome.revision == step.to_revision and before is not None:
                    after = self._objects(database, step)
                    self._checks[kind] = shapes.condition(shapes.touched(before, after or {}))
                    self._scripts.pop(kind, None)
            yield [outcome]

    def _objects(self, database: Database | Exception, step: Step) -> Mapping[shapes.Part, str] | None:
        if isinstance(database, Exception):
            return None
        try:
            return shapes.objects(database.connection, [step.target.schema]).get(step.target.schema, {})
        except psycopg.Error:
            return None  # the step itself will say why

    def _database_or_reason(self, target: Target) -> Database | Exception:
        try:
            return self._database(target)
        except (psycopg.Error, CopyholdError) as error:
            return error

    def _do(self, database: Database | Exception, step: Step) -> Outcome:
        started = time.monotonic()
        error = revision = None
        try:
            if isinstance(database, Exception):
                raise database
            revision = self._brought(database, step)
        except (psycopg.Error, CopyholdError) as problem:
            error, revision = in_words(problem), self._left_at(database, step.target)
        duration_ms = round((time.monotonic() - started) * 1000)
        tries = 1 + (0 if isinstance(database, Exception) else database.attempts)
        return Outcome(step=step, error=error, duration_ms=duration_ms, attempts=tries, revision=revision)

    def _left_at(self, database: Database | Exception, target: Target) -> str | None:
        """Where a target is that failed, if that can be seen: the revisions before the one that failed stay."""
        if isinstance(database, Exception):
            return None
        with suppress(psycopg.Error):
            return database.version(self._chain_of(target), target.schema)
        return None

    def _chain_of(self, target: Target) -> Chain:
        return HOME if target.chain == HOME.name else self.chain

    def _brought(self, database: Database, step: Step) -> str:
        target = step.target
        chain = self._chain_of(target)
        current = target.revision
        for _ in range(SWEEPS):
            script = self._script(chain, current, step.to_revision)
            found = database.follow(script, target.schema, self._in_python(target))
            if found == step.to_revision or not self._leads(chain, found, step.to_revision):
                return found
            current = found  # The ledger was wrong about it.
        raise NotMigratedError(f"it is moved by somebody else again and again, now at {current}")

    def _leads(self, chain: Chain, found: str, wanted: str) -> bool:
        return chain.upgrades(wanted, found) if self.wishes.down else chain.upgrades(found, wanted)

    def _script(self, chain: Chain, current: str | None, wanted: str) -> Script:
        key = (chain.name, current, wanted)
        with self._compiling:
            if key not in self._scripts:
                phases = chain.compiled(current, wanted)
                self._scripts[key] = Script(
                    chain=chain, current=current, wanted=wanted, phases=phases, check=self._checks.get(key)
                )
            return self._scripts[key]

    def _in_python(self, target: Target) -> Callable[[str, Phase], None]:
        def run(schema: str, phase: Phase) -> None:
            self._python.run(self._dsn(target), self.chain, schema, phase)

        return run

    def _database(self, target: Target) -> Database:
        with self._reaching.trying(target.server):
            return Database.open(self._dsn(target))

    def _dsn(self, target: Target) -> str:
        return self.doors.dsn(self._servers[target.server], target.database, MIGRATOR)

    @cached_property
    def _servers(self) -> Mapping[str, Server]:
        with transaction(self.engine) as session:
            return {server.name: server for server in servers.all_servers(session)}

    def _record(self, batch: Sequence[Outcome]) -> None:
        for outcome in batch:
            if outcome.error and outcome.step.target.chain == HOME.name:
                self._unsafe.add(outcome.step.target.database_id)
        rows = [
            replace(
                recorded(outcome.step.target, "failed" if outcome.error else "done", outcome.revision),
                attempts=outcome.attempts,
                error=outcome.error,
                duration_ms=outcome.duration_ms,
            )
            for outcome in batch
        ]
        self.still_held()
        with transaction(self.engine) as session:
            fleet.record_outcomes(session, self.run_id, rows)
        self._outcomes.extend(batch)

    def _held_back(self, before: Wave, wave: Wave) -> str | None:
        """Between two waves: is the fleet well, is the pause over, does somebody say yes, is no process in the way."""
        if problem := self._ailing(before):
            return f"after wave {before.number}: {problem}"
        if self.wishes.pause_s and wave.number > 1 and self.hands.stop.wait(self.wishes.pause_s):
            return STOPPED_BY_SOMEBODY
        if self.hands.approve is not None and wave.number > 1 and not self.hands.approve(wave.number):
            return f"wave {wave.number} was not approved"
        if blockers := self.blockers(wave):
            return f"wave {wave.number} is not for {'; '.join(map(str, blockers))}"
        return STOPPED_BY_SOMEBODY if self.hands.stop.is_set() else None

    def _ailing(self, wave: Wave) -> str | None:
        targets = [step.target for step in wave.steps]
        until = time.monotonic() + HEALTHY_WITHIN_S
        while found := [*health.problems(self.doors, self._servers, targets), *self._probed(targets)]:
            if time.monotonic() > until:
                return "; ".join(found)
            if self.hands.stop.wait(HEALTH_POLL_S):
                return None
        return None

    def _probed(self, targets: Sequence[Target]) -> list[str]:
        return self.hands.probe(targets) if self.hands.probe is not None else []

    def _latecomers(self, last: int) -> str | None:
        """Targets that were made, or moved here, at another revision while the run went on."""
        if self.wishes.only:
            return None
        tried = {(o.step.target.database_id, o.step.target.chain, o.step.target.schema) for o in self._outcomes}
        for number in range(last + 1, last + 1 + SWEEPS):
            late = [step for step in self.replan().steps
                    if (step.target.database_id, step.target.chain, step.target.schema) not in tried]  # fmt: skip
            if not late:
                return None
            wave = Wave(number=number, steps=tuple(late))
            with transaction(self.engine) as session:
                fleet.plan_targets(session, _rows(self.run_id, wave))
            if reason := self._wave(wave):
                return reason
            tried |= {(step.target.database_id, step.target.chain, step.target.schema) for step in late}
        return None

    def _not_begun(self) -> str | None:
        """Why a run is not at its end though what had failed in it has been tried again."""
        with transaction(self.engine) as session:
            left = fleet.unfinished(session, self.run_id, failed_only=False)
        others = sum(1 for row in left if row.state != "failed")
        return f"{others} of its targets have not been begun" if others else None

    def _report(self, work: Plan, state: str, reason: str | None) -> Report:
        failed = tuple(outcome for outcome in self._outcomes if outcome.error)
        return Report(
            run_id=self.run_id,
            state=state,
            reason=reason,
            done=len(self._outcomes) - len(failed),
            failed=failed,
            not_started=max(0, len(work.steps) - len(self._outcomes)),
            there_already=work.there_already,
            ahead=work.ahead,
            duration_ms=round((time.monotonic() - self._started) * 1000),
        )


_Kind = tuple[str, str | None, str]
"""Chain, revision left, revision come to."""
_Do = Callable[[Database | Exception, Step], Outcome]


def _by_kind(steps: Sequence[Step]) -> dict[_Kind, list[Step]]:
    kinds: dict[_Kind, list[Step]] = {}
    for step in steps:
        kinds.setdefault((step.target.chain, step.target.revision, step.to_revision), []).append(step)
    return kinds


def _rows(run_id: UUID, wave: Wave) -> list[dict[str, Any]]:
    return [
        {
            "run_id": run_id,
            "chain": step.target.chain,
            "database_id": step.target.database_id,
            "schema": step.target.schema,
            "from_revision": step.target.revision,
            "to_revision": step.to_revision,
            "state": "planned",
            "wave": wave.number,
        }
        for step in wave.steps
    ]


def recorded(target: Target, state: str, revision: str | None) -> TargetOutcome:
    """What the ledger is told of a target that is at `revision` now."""
    return TargetOutcome(
        chain=target.chain,
        database_id=target.database_id,
        schema=target.schema,
        state=state,
        revision=revision,
        attempts=0,
        error=None,
        duration_ms=0,
    )
