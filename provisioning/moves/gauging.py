"""Looking how much of their log servers keep for slots of moves, and telling the roll. Any number of workers may."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import psycopg
import structlog

from control_plane.doors import NoDoorError
from control_plane.registry import move_figures, servers
from control_plane.registry.engine import transaction
from control_plane.registry.move_figures import Slots
from provisioning.estate import Estate
from provisioning.rounds import going_round

LOOK_S = 5.0
# A slot that has been thrown off keeps nothing: it has no restart_lsn.
_SLOTS = """
SELECT count(*), coalesce(max(pg_wal_lsn_diff(pg_current_wal_insert_lsn(), restart_lsn)), 0)::bigint
  FROM pg_replication_slots WHERE slot_name ~ '^(mv|un)_[0-9a-f]{32}$'
"""
log = structlog.get_logger()


@contextmanager
def gauging_slots(estate: Estate) -> Iterator[None]:
    """Look every few seconds for as long as the block lasts."""
    with going_round("slots", LOOK_S, partial(gauge, estate)):
        yield


def gauge(estate: Estate, stopping: threading.Event | None = None) -> None:
    """Look once at each server that may have some. Of one that does not answer the roll keeps what it had."""
    with transaction(estate.engine) as session:
        known = [servers.server_named(session, name) for name in move_figures.servers_to_look_at(session)]
    for server in known:
        if stopping is not None and stopping.is_set():
            return
        try:
            with estate.builder(server).admin() as admin:
                ((count, wal_bytes),) = admin.execute(_SLOTS).fetchall()
        except (psycopg.Error, NoDoorError) as error:
            log.warning("slots_not_gauged", server=server.name, error=type(error).__name__)
            continue
        with transaction(estate.engine) as session:
            move_figures.record_slots(session, server.name, Slots(count=count, wal_bytes=wal_bytes))
