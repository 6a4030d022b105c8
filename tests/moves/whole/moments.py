"""A move's steps in a process of the platform's own user, and something that happens at one moment of them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import psycopg
from sqlalchemy import event
from sqlalchemy.orm import object_session

from control_plane.domain.errors import CopyholdError
from control_plane.domain.moving import Phase
from control_plane.registry import moves, tenants
from control_plane.registry.engine import control_engine, transaction
from control_plane.registry.moves import Held
from control_plane.registry.switching import Found, Switch
from control_plane.registry.tables import MoveRow
from control_plane.settings import Settings
from control_plane.tenants import moving
from provisioning.moves import copying, going, switching
from provisioning.moves.copying import Progress
from provisioning.steps import FAILURES, SEQUENCES
from provisioning.workflows import in_words
from tests.provisioning import worker
from tests.waiting import until


def carry_out_until_phase(settings: Settings, move_id: UUID, kind: str, phase: Phase) -> None:
    """Every step of the workflow; the process is killed as soon as the move is on record in that phase."""
    _at(phase, lambda: os.kill(os.getpid(), signal.SIGKILL))
    worker.carry_out(settings, move_id, kind)


def cancel_at(settings: Settings, move_id: UUID, kind: str, phase: Phase) -> None:
    """Every step of the workflow; the move is cancelled as soon as it is on record in that phase."""
    _at(phase, lambda: _cancel(settings, move_id))
    carry_out_or_fail(settings, move_id, kind)


def cancel_amid_the_copy(settings: Settings, move_id: UUID, kind: str) -> None:
    """The same, when a table has been copied and others have not."""
    copying.TOLD_EVERY_S, going.TOLD_EVERY_S, copied = 0.0, 0.0, going._Check.copied

    def cancelled(check: going._Check, progress: Progress) -> None:
        _cancel(settings, move_id)
        copied(check, progress)
        raise AssertionError("it goes on though it was cancelled")

    going._Check.copied = cancelled  # type: ignore[assignment,method-assign]
    carry_out_or_fail(settings, move_id, kind)


def carry_out_when_told(
    settings: Settings, move_id: UUID, kind: str, phase: Phase, told: Path, small_rows: int | None
) -> None:
    """Every step of the workflow; as soon as the move is on record in that phase it waits for a file. See below."""
    _at(phase, lambda: until(told.exists, what="it is told to go on"))
    carry_out_or_fail(settings, move_id, kind, small_rows)


def carry_out_or_fail(settings: Settings, move_id: UUID, kind: str, small_rows: int | None = None) -> None:
    """As a workflow does it: what fails is taken to where its phase leads. Who has more rows is no small tenant."""
    if small_rows is not None:
        going.SMALL_ROWS = small_rows  # type: ignore[attr-defined]
    with worker.tools(settings) as tools:
        try:
            for step in SEQUENCES[kind]:
                step(tools, move_id)
        except (CopyholdError, psycopg.Error) as error:
            FAILURES[kind](tools, move_id, in_words(error))


def _at(phase: Phase, act: Callable[[], None]) -> None:
    change, switch, waited = moves.change_phase, switching.switched, [phase]

    def changed(row: MoveRow, wanted: Phase) -> None:
        change(row, wanted)
        if wanted in waited:
            waited.clear()
            event.listen(object_session(row), "after_commit", lambda _: act(), once=True)

    @contextmanager
    def switched(held: Held, wanted: Switch) -> Iterator[Found]:
        with switch(held, wanted) as found:
            yield found
        if wanted.phase in waited:
            waited.clear()
            act()

    moves.change_phase, switching.switched = changed, switched  # type: ignore[attr-defined]


def _cancel(settings: Settings, move_id: UUID) -> None:
    engine = control_engine(settings.control_dsn, timeout_s=10)
    with transaction(engine) as session:
        tenant_id = moves.get(session, move_id).tenant_id
        moving.cancel(session, tenants.get(session, tenant_id, lock=True), "tests")
    engine.dispose()
