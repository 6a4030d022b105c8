"""Seeing to what is due: tenants whose grace has passed are erased, moves end, runs of moves go on, old exports go.

The roll alone says when: nothing is kept here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from sqlalchemy import Engine

from control_plane.registry import move_runs
from control_plane.registry.engine import transaction
from control_plane.registry.placing import FullAt
from control_plane.registry.workflows import Workflows
from control_plane.settings import Settings
from control_plane.tenants import closing, moving, relocating
from provisioning.exports.tidying import delete_old
from provisioning.rounds import going_round

LOOK_S = 1.0
TIDY_S = 60.0
"""Between two looks for old exports."""
log = structlog.get_logger()


@contextmanager
def seeing_to_what_is_due(engine: Engine, workflows: Workflows, settings: Settings, actor: str) -> Iterator[None]:
    """Look every second, for exports every minute, for as long as the block lasts; any number of workers may."""
    tidied = -TIDY_S

    def look(_stopping: threading.Event) -> None:
        nonlocal tidied
        with transaction(engine) as session:
            begun = closing.erase_due(session, workflows, actor)
            moving.tidy_due(session, workflows, actor)
        for slug in begun:
            log.info("tenant_erasing", slug=slug)
        begin_moves(engine, workflows, settings.limits.full_at)
        if time.monotonic() - tidied >= TIDY_S:
            tidied = time.monotonic()
            delete_old(engine, settings, actor)

    with going_round("due", LOOK_S, look):
        yield


def begin_moves(engine: Engine, workflows: Workflows, full_at: FullAt) -> None:
    """Begin the moves of open runs that may begin now, each in a transaction of its own."""
    with transaction(engine) as session:
        open_runs = move_runs.open_ids(session)
    for run_id in open_runs:
        going_on = True
        while going_on:
            with transaction(engine) as session:
                going_on = relocating.go_on(session, workflows, run_id, full_at)
