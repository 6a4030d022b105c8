"""A run over the fleet that somebody asked for, done by the worker: the step of the workflow `migrate`."""

from __future__ import annotations

import threading
import time
from uuid import UUID

from control_plane.registry import fleet, fleet_runs
from control_plane.registry.engine import transaction
from control_plane.registry.fleet import FleetBusyError
from migrations.fleet.events import Hands
from migrations.fleet.run import FleetMigration
from provisioning.comparing import comparer
from provisioning.probing import prober
from provisioning.steps import Tools

BUSY_TRIES = 150
BUSY_PAUSE_S = 2.0


def carry_out(tools: Tools, run_id: UUID) -> None:
    """Do the run, or what a worker that died left of it. Another that goes on is waited for, some minutes at most."""
    migration = FleetMigration(tools.estate.engine, tools.estate.chain, tools.estate.doors)
    hands = Hands(
        tell=lambda _: None,
        stop=threading.Event(),
        probe=prober(tools.estate),
        compare=comparer(tools.estate, migration),
    )
    busy = ""
    for _ in range(BUSY_TRIES):
        try:
            migration.carry_out(run_id, hands)
        except FleetBusyError as error:
            busy = error.message
            time.sleep(BUSY_PAUSE_S)
        else:
            return
    give_up(tools, run_id, busy)


def give_up(tools: Tools, run_id: UUID, reason: str) -> None:
    """Record that the run has failed, unless it has ended in another way."""
    with transaction(tools.estate.engine) as session:
        row = fleet_runs.get(session, run_id, lock=True)
        if row.state in fleet_runs.UNENDED or row.state == fleet_runs.INTERRUPTED:
            fleet.end_run(session, run_id, "failed", reason)
