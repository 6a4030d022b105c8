"""A run that goes on hears from the ledger that somebody wants it to stop."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from sqlalchemy import Engine

from control_plane.domain.errors import UnavailableError
from control_plane.registry import fleet_runs
from control_plane.registry.engine import transaction

LISTEN_S = 0.5


@contextmanager
def listening(engine: Engine, run_id: UUID, stop: threading.Event) -> Iterator[None]:
    """Set `stop` within a second of somebody's asking for it, as long as the block lasts."""
    ended = threading.Event()

    def listen() -> None:
        while not ended.wait(LISTEN_S):
            # A ledger that does not answer is noticed by the run itself.
            with contextlib.suppress(UnavailableError), transaction(engine) as session:
                if fleet_runs.stop_asked(session, run_id):
                    stop.set()
                    return

    thread = threading.Thread(target=listen, name="listening", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(timeout=5)
