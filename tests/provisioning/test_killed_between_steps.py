"""A worker that is killed between any two steps of any workflow is followed by another, which ends it: all or nothing.

The cases are made from the steps themselves. All that halt at a boundary of one sort do so in one worker, which is then
killed; the next one takes over what it left, and halts at the boundaries of the next sort.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pytest

from control_plane.domain.tenant import Model, Status
from control_plane.registry.workflow_records import DONE
from control_plane.registry.workflows import ADD_SERVER, PROVISION, REMOVE_SERVER, ROTATE
from provisioning.steps import SEQUENCES
from tests.doctor.patient import Patient
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest, running_platform
from tests.provisioning.erased import place_of
from tests.provisioning.halting import AT_THE_END, boundaries
from tests.provisioning.lives import LIVES, Life, ProvisionAndClose, halt_all, newcomer, state_of, wait_until_ended
from tests.provisioning.workers import Workers, workers_alone
from tests.repair.mending import assert_well
from tests.waiting import until

pytestmark = pytest.mark.slow

SORTS = ("before", "after", AT_THE_END)
"""Of boundaries, each with a worker of its own."""
OF_SERVERS = {ADD_SERVER, REMOVE_SERVER}
"""They need a server each: see test_servers_killed."""
DEADLINE_S = 300.0
"""A hundred workflows, on a machine that has other things to do."""


@dataclass(frozen=True)
class Case:
    """One workflow to be cut at one boundary."""

    kind: str
    model: Model
    boundary: str
    life: type[Life]

    @property
    def id(self) -> str:
        """For a person."""
        return f"{self.life.__name__} {self.model} {self.boundary}"

    @property
    def sort(self) -> str:
        """Which of SORTS it is of."""
        return next(sort for sort in SORTS if self.boundary.startswith(sort))

    @property
    def done_before(self) -> int:
        """How many steps are recorded when it halts."""
        names = [step.__name__ for step in SEQUENCES[self.kind]]
        return len(names) if self.boundary == AT_THE_END else names.index(self.boundary.partition(" ")[2])


@dataclass
class Cut:
    """A case on its way."""

    life: Life
    executor: str = ""
    """Of the worker that is killed."""
    done: Sequence[tuple[int, str, str]] = ()
    """The steps that are recorded by then."""


def models_at(kind: str, number: int, boundary: str) -> Sequence[Model]:
    """All of them in the midst of a step; elsewhere everything is on record whatever is made, and they take turns."""
    models = LIVES[kind].models
    return models if boundary.startswith("after") else models[number % len(models) :][:1]


CASES = [
    *(
        Case(kind, model, boundary, LIVES[kind])
        for kind, sequence in SEQUENCES.items()
        if kind in LIVES
        for number, boundary in enumerate(boundaries(sequence))
        for model in models_at(kind, number, boundary)
    ),
    *(
        Case(PROVISION, model, boundary, ProvisionAndClose)
        for model in Model
        for boundary in (f"after {SEQUENCES[PROVISION][-1].__name__}", AT_THE_END)
    ),
]


@dataclass
class Story:
    """All cases on one platform."""

    platform: PlatformUnderTest
    workers: Workers
    undisturbed: Mapping[Model, TenantUnderTest]
    cuts: Mapping[Case, Cut]

    def halt_and_kill(self, sort: str) -> None:
        """One worker comes to all boundaries of that sort, and is killed there."""
        cuts = {case: cut for case, cut in self.cuts.items() if case.sort == sort}
        name = f"worker-{SORTS.index(sort)}"
        halt_all(self.workers, name, {cut.life.begin(): case.boundary for case, cut in cuts.items()})
        for cut in cuts.values():
            cut.executor = self.workers.executor_of(cut.life.workflow_id)
            cut.done = self.workers.steps_of(cut.life.workflow_id)
            cut.life.halted()
        self.workers.kill(name)
        for cut in cuts.values():
            cut.life.killed()
        self._look_at_databases_of([cut.life for case, cut in cuts.items() if case.kind == ROTATE])

    def wait_for_another_worker(self, cut: Cut) -> None:
        """Until one has ended it; what had ended on record before is taken up as well."""
        workflow_id = cut.life.workflow_id
        wait_until_ended(self.platform, workflow_id, DEADLINE_S)
        until(lambda: self.workers.executor_of(workflow_id) != cut.executor, what="another worker has it")

    def _look_at_databases_of(self, lives: Sequence[Life]) -> None:
        """Half changed, nothing is wrong with them."""
        databases = {place_of(life.tenant).database for life in lives}
        found = Patient(platform=self.platform, tenants={}).findings()
        assert [each for each in found if each.database in databases] == []


@pytest.fixture(scope="module")
def story() -> Iterator[Story]:
    """Everything has happened: all are cut, and all are ended by a worker that nobody kills."""
    with running_platform() as platform:
        undisturbed = {model: newcomer(platform, model) for model in Model}
        cuts = {case: Cut(case.life(platform, case.model)) for case in CASES}
        everybody = [*undisturbed.values(), *(cut.life.tenant for cut in cuts.values() if cut.life.of_a_tenant)]
        for tenant in everybody:
            platform.wait_for(tenant.id, Status.ACTIVE)
        for cut in cuts.values():
            cut.life.prepare()
        with workers_alone(platform) as workers:
            story = Story(platform, workers, undisturbed, cuts)
            for sort in SORTS:
                story.halt_and_kill(sort)
            workers.start("survivor")
            for cut in cuts.values():
                story.wait_for_another_worker(cut)
            yield story


def test_there_is_no_kind_of_workflow_that_is_not_cut_here() -> None:
    assert set(LIVES) | OF_SERVERS == set(SEQUENCES), "a kind of workflow has no life in tests/provisioning/lives.py"
    for kind, life in LIVES.items():
        assert not life.alone or len(SEQUENCES[kind]) == 1, f"{kind} is one at a time, and has several in one worker"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_another_worker_ends_it(story: Story, case: Case) -> None:
    cut = story.cuts[case]
    names = [step.__name__ for step in SEQUENCES[case.kind]]
    assert [name for _, name, _ in cut.done] == names[: case.done_before]
    assert state_of(story.platform, cut.life.workflow_id) == (DONE, None)
    assert story.workers.executor_of(cut.life.workflow_id) != cut.executor
    steps = story.workers.steps_of(cut.life.workflow_id)
    assert [name for _, name, _ in steps] == names
    assert steps[: case.done_before] == list(cut.done), "a finished step was done again"
    cut.life.check(story.undisturbed[case.model])


def test_nothing_is_left_to_repair(story: Story) -> None:
    assert_well(Patient(platform=story.platform, tenants={}))
