"""A worker that holds moves still in named phases, in the midst of their work, started as a program of its own.

`python -m tests.moves.whole.holding DATA PLAN HELD GO`: the file PLAN says by tenant in which phase its move is held;
those that are there are written to the file HELD, a line each; they go on as soon as there is a file GO.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from cli.working import run_worker
from control_plane.domain.moving import Phase
from control_plane.registry import moves
from control_plane.registry.engine import Together
from control_plane.registry.moves import Held
from provisioning import worker
from provisioning.moves import copying, fences, ways
from tests.waiting import until

IN_THE_MIDST = {Phase.COPYING: "rows are on their way", Phase.FREEZING: "the tenant is frozen"}
"""Held where the phase's own work is done; others as soon as the phase is on record and somebody works on it."""
HELD_S = 300.0

Reach = Callable[[UUID, Phase], None]


@dataclass(frozen=True, kw_only=True)
class Holding(Held):
    """The tenant's lock, whose holder is held after the first transaction that finds the move in its phase."""

    tenant_id: UUID
    reach: Reach

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        with super().transaction() as session:
            yield session
            row = moves.open_of(session, self.tenant_id)
        if row is not None and Phase(row.phase) not in IN_THE_MIDST:
            self.reach(self.tenant_id, Phase(row.phase))

    @contextmanager
    def together(self, statements: Together, **given: object) -> Iterator[Any]:
        with super().together(statements, **given) as found:
            yield found
        with self.transaction():
            """Looks where it is by now."""


def holds(plan: dict[str, str], held: Path, go: Path) -> Reach:
    """What holds a thread that has come to its tenant's phase for the first time."""
    writing, reached = threading.Lock(), set[UUID]()

    def reach(tenant_id: UUID, phase: Phase) -> None:
        if plan.get(str(tenant_id)) != phase:
            return
        with writing:
            if tenant_id in reached:
                return
            reached.add(tenant_id)
            with held.open("a") as file:
                file.write(f"{tenant_id}\n")
        until(go.exists, what="it may go on", deadline_s=HELD_S)

    return reach


def hold(reach: Reach) -> None:
    """From now on moves of this process are held where they are to be."""
    holding, freeze, copy_rows = moves.holding, fences.freeze, copying.copy_rows

    @contextmanager
    def held(engine: Any, tenant_id: UUID, **others: Any) -> Iterator[Held]:
        with holding(engine, tenant_id, **others) as really:
            yield Holding(connection=really.connection, tenant_id=tenant_id, reach=reach)

    def frozen(connection: Any, tenant_id: UUID, *others: Any) -> Any:
        since = freeze(connection, tenant_id, *others)
        if since is not None:
            reach(tenant_id, Phase.FREEZING)
        return since

    def copied(
        source: Any, target: Any, schemas: Any, tables: Any, tenant_id: UUID, *, tell: Any, **others: Any
    ) -> Any:
        def telling(progress: Any) -> None:
            tell(progress)
            reach(tenant_id, Phase.COPYING)

        return copy_rows(source, target, schemas, tables, tenant_id, tell=telling, **others)

    moves.holding, fences.freeze = held, frozen  # type: ignore[assignment]
    ways.copy_rows = copied  # type: ignore[attr-defined, assignment]


if __name__ == "__main__":
    data, plan, reached, go = map(Path, sys.argv[1:])
    held_ones = json.loads(plan.read_text())
    worker.AT_ONCE += len(held_ones)
    worker.AT_ONCE_A_SERVER += len(held_ones)
    hold(holds(held_ones, reached, go))
    run_worker(data)
