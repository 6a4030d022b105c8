"""Runs the matrix of two worlds through a door, and tells every case that did not go as it must."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.isolation.attempts import Attempt, Stage, attempt, control_with_everything
from tests.isolation.cases import Case, Try, cases
from tests.isolation.doors import Answer, Door, Inside
from tests.isolation.operations import OPERATIONS, Served
from tests.isolation.world import TABLES, World


@dataclass(kw_only=True)
class Outcome:
    """What came of a run."""

    done: list[Case] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """A sentence for all that did not go as it must."""
    leaks: list[str] = field(default_factory=list)
    """Those by which one tenant saw or changed another's rows, or was told that they are there."""

    @property
    def failed_closed(self) -> bool:
        """Whether all that went wrong is that somebody was refused who may."""
        return bool(self.wrong) and not self.leaks


@dataclass(kw_only=True)
class Matrix:
    """The matrix of one pair: `me` tries what is `them`'s. Good for one run."""

    me: World
    them: World
    stages: list[tuple[Stage, list[Case]]]

    @classmethod
    def of(
        cls, me: World, them: World, served: Mapping[str, Served], wanted: Callable[[Case], bool] = lambda case: True
    ) -> Matrix:
        """A matrix of the wanted cases, with everything made that it will ask about."""
        with me.home.transaction(), them.home.transaction():
            stages = [
                (Stage.of(there, credential, me, them), here)
                for name, there in served.items()
                for credential in OPERATIONS[name].credentials
                if (here := [case for case in cases(name, OPERATIONS[name], credential) if wanted(case)])
            ]
        return cls(me=me, them=them, stages=stages)

    def run(self, door: Door, after: Callable[[Case], None] = lambda case: None) -> Outcome:
        """Ask everything, and call `after` each case. Nothing is raised for what goes wrong: it is told."""
        if isinstance(door, Inside):
            door.refresh()
        outcome = Outcome()
        rows = {world.id: fingerprint(world) for world in (self.me, self.them)}
        for stage, its_cases in self.stages:
            for case in its_cases:
                _Trial(stage=stage, case=case, door=door, outcome=outcome, rows=rows).run()
                outcome.done.append(case)
                after(case)
        return outcome


def fingerprint(world: World) -> str:
    """Of all rows of the tenant in its home."""
    one = "SELECT '{0}', count(*), md5(string_agg({0}::text, '' ORDER BY id)) FROM {0} WHERE tenant_id = %(tenant)s"
    query = " UNION ALL ".join(one.format(table) for table in TABLES)
    rows = world.home.execute(query, {"tenant": world.id}).fetchall()
    return hashlib.sha256(repr(sorted(rows)).encode()).hexdigest()


@dataclass(kw_only=True)
class _Trial:
    """One case."""

    stage: Stage
    case: Case
    door: Door
    outcome: Outcome
    rows: dict[object, str]
    """Fingerprints of both worlds as the last case left them."""

    def run(self) -> None:
        planned = attempt(self.stage, self.case)
        answer = self.door.send(planned.ask)
        self._judge(planned, answer)
        if planned.twin is not None:
            self._compare(planned, answer, self.door.send(planned.twin))
        if self.case.how is Try.CONTROL:
            self._judge_control(planned, answer)
        self._look_at_rows(planned)

    def _judge(self, planned: Attempt, answer: Answer) -> None:
        if answer.status not in planned.statuses:
            wanted = " or ".join(map(str, sorted(planned.statuses)))
            let_in = answer.status < 400 and self.case.how is not Try.CONTROL
            self._tell(f"answered {answer.status} instead of {wanted}", leak=let_in)
        for world, things in ((self.stage.me, self.stage.mine), (self.stage.them, self.stage.theirs)):
            if world is planned.seen:
                continue
            shown = [mark for mark in (world.canary, *things.ids) if mark in answer.whole]
            if shown:
                self._tell(f"the answer shows {shown[0]} of {world.tenant.slug}", leak=True)

    def _compare(self, planned: Attempt, answer: Answer, twin: Answer) -> None:
        made = answer.status < 300 and planned.changed is not None
        same = answer.status == twin.status if made else answer == twin
        if not same:
            self._tell(f"what is not there is answered otherwise: {answer} and {twin}", leak=True)

    def _judge_control(self, planned: Attempt, answer: Answer) -> None:
        operation = self.stage.operation
        if operation.shows_canary and self.stage.them.canary not in answer.whole:
            self._tell("the owner's answer does not hold the canary")
        if any(what.optional for what in operation.ids.values()):
            paged = self.door.send(control_with_everything(self.stage))
            self._judge(planned, paged)

    def _look_at_rows(self, planned: Attempt) -> None:
        for world in (self.stage.me, self.stage.them):
            before, after = self.rows[world.id], fingerprint(world)
            self.rows[world.id] = after
            if world is not planned.changed and before != after:
                self._tell(f"rows of {world.tenant.slug} are other ones now", leak=True)
            elif world is planned.changed and before == after:
                self._tell(f"no row of {world.tenant.slug} is another one now")

    def _tell(self, what: str, *, leak: bool = False) -> None:
        sentence = f"{self.case}: {what}"
        self.outcome.wrong.append(sentence)
        if leak:
            self.outcome.leaks.append(sentence)
