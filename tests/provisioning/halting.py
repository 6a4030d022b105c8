"""A worker that halts at named boundaries between steps and waits there to be killed, started as a program of its own.

`python -m tests.provisioning.halting DATA BOUNDARIES HALTED`: the file BOUNDARIES says by workflow where it is to halt,
and those that have come there are written to the file HALTED, a line each.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import wraps
from pathlib import Path
from uuid import UUID

from dbos import DBOS

from cli.working import run_worker
from provisioning import steps, worker
from provisioning.steps import Step, Tools
from provisioning.waking import Bell

AT_THE_END = "at the end"
"""All is recorded but that the workflow has ended."""
AT_A_TIME = 4
"""So many steps are done at once, as by any worker; those that have halted do not count."""


def boundaries(sequence: Sequence[Step]) -> list[str]:
    """Every boundary of a workflow of these steps, by name."""
    names = [step.__name__ for step in sequence]
    return [*(f"before {name}" for name in names), *(f"after {name}" for name in names), AT_THE_END]


def halt(where: Mapping[str, str], halted: Path) -> None:
    """From now on workflows of this process halt where they are to, for ever."""
    turns, writing = threading.Semaphore(AT_A_TIME), threading.Lock()

    def reach(boundary: str) -> None:
        workflow_id = str(DBOS.workflow_id)
        if where.get(workflow_id) != boundary:
            return
        with writing, halted.open("a") as file:
            file.write(f"{workflow_id}\n")
        threading.Event().wait()

    def halting(step: Step) -> Step:
        @wraps(step)
        def run(tools: Tools, subject: UUID) -> None:
            reach(f"before {step.__name__}")
            with turns:
                step(tools, subject)
            reach(f"after {step.__name__}")

        return run

    class HaltingBell(Bell):
        def ring_soon(self) -> None:
            reach(AT_THE_END)
            super().ring_soon()

    steps.SEQUENCES = {kind: tuple(map(halting, sequence)) for kind, sequence in steps.SEQUENCES.items()}
    worker.AT_ONCE += len(where)
    worker.AT_ONCE_A_SERVER += len(where)
    worker.Bell = HaltingBell  # type: ignore[attr-defined]


if __name__ == "__main__":
    data, plan, reached = map(Path, sys.argv[1:])
    halt(json.loads(plan.read_text()), reached)
    run_worker(data)
