"""Keeping ways back open: what a tenant changes in its new home is brought into the old one, for as long as it is kept.

Every worker goes round all of them, a short turn each. Which place each has come to stands in the old home itself, so
that it makes no difference who takes the next turn, or whether there was a pause.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from uuid import UUID

import psycopg
import structlog
from sqlalchemy.exc import DBAPIError

from control_plane.domain.errors import CopyholdError
from control_plane.domain.moving import Phase
from control_plane.registry import moves
from control_plane.registry.engine import transaction
from control_plane.registry.moves import MoveBusyError
from provisioning.estate import Estate
from provisioning.moves.errors import (
    DamagedStreamError,
    DivergedError,
    ForeignRowError,
    NotBegunError,
    ShapesDifferError,
    SlotLostError,
    UnmovableError,
)
from provisioning.moves.trips import end_of, read
from provisioning.moves.ways import moved_tables, way_back
from provisioning.rounds import going_round

ROUND_S = 5.0
TURN_S = 10.0
"""So long at most is one followed before the next has its turn."""
LOST_FOR_GOOD = (
    SlotLostError,
    NotBegunError,
    DamagedStreamError,
    DivergedError,
    ForeignRowError,
    ShapesDifferError,
    UnmovableError,
)
"""After these the old home is no copy any more."""
log = structlog.get_logger()


@contextmanager
def keeping_ways_back(estate: Estate) -> Iterator[None]:
    """Go round until the block ends; any number of workers may."""
    with going_round("ways-back", ROUND_S, partial(_round, estate)):
        yield


def _round(estate: Estate, stopping: threading.Event) -> None:
    with transaction(estate.engine) as session:
        kept = moves.with_a_way_back(session)
    for move_id in kept:
        if stopping.is_set():
            return
        try:
            follow(estate, move_id, stopping)
        except (CopyholdError, psycopg.Error, DBAPIError) as error:
            log.warning("way_back_not_followed", move=str(move_id), error=type(error).__name__)


def follow(estate: Estate, move_id: UUID, stopping: threading.Event | None = None) -> None:
    """Bring what has changed since the last turn; returns at once while somebody else works on the move."""
    with transaction(estate.engine) as session:
        tenant_id = moves.get(session, move_id).tenant_id
    try:
        with moves.holding(estate.engine, tenant_id, wait_s=0) as held:
            with held.transaction() as session:
                trip = read(session, move_id)
            if trip.phase is not Phase.KEPT:
                return
            new, old = end_of(estate, trip.chosen), end_of(estate, trip.source)
            until = time.monotonic() + TURN_S
            try:
                tables = moved_tables(new, old, estate.app.metadata)
                with way_back(new, old, tables, tenant_id) as follower:
                    while follower.pump() and time.monotonic() < until and not (stopping and stopping.is_set()):
                        with held.transaction() as session:
                            if not moves.with_a_way_back(session, move_id):
                                return  # Whoever is to have it back, or to give it up, waits for the lock.
            except LOST_FOR_GOOD as error:
                with held.transaction() as session:
                    row = moves.get(session, move_id, lock=True)
                    lost = f"there is no way back any more: {error.message}"
                    row.revision, row.reason = None, f"{row.reason}; {lost}" if row.verified is False else lost
                log.error("way_back_lost", move=str(move_id), error=type(error).__name__)
    except MoveBusyError:
        return
