"""Moves that are held in the midst of phases, each with a client of its tenant's, for something to befall them all."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from sqlalchemy import select

from control_plane.domain.moving import ENDED, Phase
from control_plane.domain.tenant import Model
from control_plane.registry.engine import ControlDatabaseError, transaction
from control_plane.registry.tables import MoveRow, WorkflowRow
from control_plane.registry.workflow_records import FAILED
from tests.doctor.patient import OF_THE_MACHINE, Patient
from tests.moves.whole.journeys import SERVERS, assert_one_home, epoch_of, move_of, settle, wait_for
from tests.moves.whole.steady import Client, assert_served, clients_of
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest
from tests.provisioning.workers import Workers, processes
from tests.repair.mending import diagnosed
from tests.waiting import until

WORKER = "worker-holding"
LONG_S = 300.0
RESTING = {Phase.KEPT, *ENDED}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A tenant, where its move is held, and how it comes to be moved."""

    tenant: TenantUnderTest
    phase: Phase
    begin: Callable[[TenantUnderTest], UUID]
    epochs: frozenset[int]
    """At which the tenant may be in the end: with its move called off, there, or back."""
    kept: Callable[[TenantUnderTest], object] = settle
    """What is done once it rests in the new home with the old one kept."""


@dataclass(frozen=True, kw_only=True)
class Held:
    """All of them, by name."""

    town: PlatformUnderTest
    cases: Mapping[str, Case]
    clients: Mapping[str, Client]
    workers: Workers
    go: Path
    unseen: frozenset[str]
    """Servers at which the doctor cannot look."""
    moves: dict[str, UUID] = field(default_factory=dict)

    def go_on(self) -> None:
        """Let them do what they were about to do."""
        self.go.touch()

    def let_go(self) -> None:
        """Have the supervisor start again whatever has ended."""
        (supervisor,) = processes(self.town, "up")
        os.kill(supervisor, signal.SIGCONT)

    def log(self) -> str:
        """What their worker has said."""
        return (self.town.data / "logs" / f"{WORKER}.log").read_text()

    def has_failed(self, name: str) -> bool:
        """Whether work on that one has been given up for now, or the worker has."""
        if self.workers.running[WORKER].poll() is not None:
            return True
        with suppress(ControlDatabaseError), transaction(self.town.engine) as session:
            states = session.scalars(select(WorkflowRow.state).where(WorkflowRow.subject == self.moves[name])).all()
            return FAILED in states
        return False

    def rests(self, name: str) -> MoveRow:
        """Its move, once nobody has to work on it."""
        until(lambda: move_of(self.town, self.moves[name]).phase in RESTING, what=f"{name} rests", deadline_s=LONG_S)
        return move_of(self.town, self.moves[name])

    def assert_all_came_to_a_good_end(self) -> None:
        """One home, what was promised, nothing left over, and everybody served."""
        provider = self.town.layout.provider
        until(
            lambda: all(map(provider.is_ready, (*SERVERS, "control"))), what="the servers are back", deadline_s=LONG_S
        )
        resting = [self.rests(name) for name in self.cases]
        assert_served(self.clients.values())
        for row, case in zip(resting, self.cases.values(), strict=True):
            if row.phase == Phase.KEPT:
                case.kept(case.tenant)
        for name, case in self.cases.items():
            row = wait_for(self.town, self.moves[name], *ENDED, deadline_s=LONG_S)
            assert "\n" not in (row.reason or "")
            epoch = epoch_of(case.tenant)
            assert epoch in case.epochs, (name, row.phase, row.reason)
            assert_one_home(case.tenant, Model(row.model) if epoch == 2 else case.tenant.model, epoch)
            self.clients[name].assert_nothing_lost()
        assert_served(self.clients.values())
        diagnosis = diagnosed(Patient(platform=self.town, tenants={}))
        assert diagnosis.repairs == ()
        left = [each for each in diagnosis.report.findings if each.check not in OF_THE_MACHINE]
        assert [each for each in left if each.server not in self.unseen] == []


@contextmanager
def held_moves(
    town: PlatformUnderTest, cases: Mapping[str, Case], *batches: Sequence[str], unseen: frozenset[str] = frozenset()
) -> Iterator[Held]:
    """Begun batch by batch, each once those before are held. The supervisor is held still: what ends stays away.

    At the block's end it is let go, and all of them have to come to a good end.
    """
    plan, reached, go = (town.data / f"moves.{word}" for word in ("plan", "held", "go"))
    for file in (reached, go):
        file.unlink(missing_ok=True)
    plan.write_text(json.dumps({str(case.tenant.id): case.phase for case in cases.values()}))
    workers = Workers(town)
    with clients_of([case.tenant for case in cases.values()]) as clients:
        by_name = dict(zip(cases, clients, strict=True))
        held = Held(town=town, cases=cases, clients=by_name, workers=workers, go=go, unseen=unseen)
        (supervisor,) = processes(town, "up")
        os.kill(supervisor, signal.SIGSTOP)
        try:
            for pid in processes(town, "worker"):
                os.kill(pid, signal.SIGKILL)
            program = (sys.executable, "-m", "tests.moves.whole.holding", town.data, plan, reached, go)
            workers.start(WORKER, *map(str, program))
            for batch in batches:
                _bring_there(held, batch, reached)
            yield held
            held.let_go()
            held.assert_all_came_to_a_good_end()
        finally:
            os.kill(supervisor, signal.SIGCONT)
            workers.end()


def _bring_there(held: Held, batch: Sequence[str], reached: Path) -> None:
    def all_are() -> bool:
        there = set(reached.read_text().splitlines() if reached.exists() else [])
        return {str(held.cases[name].tenant.id) for name in batch} <= there

    for name in batch:
        held.moves[name] = held.cases[name].begin(held.cases[name].tenant)
    until(all_are, what=f"they are held: {', '.join(batch)}", deadline_s=LONG_S)
