"""How much servers hold and have to do: measured now and then by whichever worker comes first, or when asked."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import psycopg
import structlog
from sqlalchemy import func, select

from control_plane.domain.server import Server, ServerStatus
from control_plane.doors import NoDoorError
from control_plane.registry import servers
from control_plane.registry.engine import transaction
from control_plane.registry.servers import Measured
from control_plane.registry.tables import ServerRow
from provisioning import catalogues
from provisioning.doctor.catalogue import in_words
from provisioning.estate import Estate
from provisioning.rounds import going_round

EVERY = timedelta(minutes=10)
"""A thousand databases are a third of a million files to look at: a second of one core."""
LOOK_S = 20.0
_MEASURED = """
SELECT datname, pg_database_size(oid), pg_stat_get_db_xact_commit(oid) + pg_stat_get_db_xact_rollback(oid)
  FROM pg_database WHERE has_database_privilege(oid, 'CONNECT')
"""
"""Others' databases on a server that others run tell nobody how large they are."""
log = structlog.get_logger()


def measure(estate: Estate, server: Server) -> int:
    """Bytes that all databases of a server take and transactions that they have, recorded on the roll; the bytes.

    psycopg.Error when it does not answer.

    Where its catalogue is not the platform's to close, it is looked at as well.
    """
    with estate.builder(server).admin() as admin:
        rows = admin.execute(_MEASURED).fetchall()
    found = {name: Measured(bytes=size, transactions=transactions) for name, size, transactions in rows}
    with transaction(estate.engine) as session:
        servers.record_measured(session, server.name, found)
    catalogues.look_again(estate, server)
    return sum(measured.bytes for measured in found.values())


def measure_all(estate: Estate) -> dict[str, str]:
    """Measure every server that has been taken in; by name, what kept it from being measured."""
    with transaction(estate.engine) as session:
        known = [server for server in servers.all_servers(session) if server.status is not ServerStatus.ADDING]
    failed = {}
    for server in known:
        try:
            measure(estate, server)
        except (psycopg.Error, NoDoorError) as error:
            failed[server.name] = in_words(error)
    return failed


@contextmanager
def measuring(estate: Estate) -> Iterator[None]:
    """Measure each server every ten minutes for as long as the block lasts; of several workers one does."""

    def look(stopping: threading.Event) -> None:
        while (server := _claim(estate)) is not None and not stopping.is_set():
            measure(estate, server)

    with going_round("measure", LOOK_S, look):
        yield


def _claim(estate: Estate) -> Server | None:
    """A server whose turn it is. It counts as measured from now on: a silent one is tried again at its next turn."""
    due = ServerRow.measured_at.is_(None) | (ServerRow.measured_at < func.now() - EVERY)
    taken_in = ServerRow.status != ServerStatus.ADDING
    query = select(ServerRow).where(due, taken_in).order_by(ServerRow.name).limit(1).with_for_update(skip_locked=True)
    with transaction(estate.engine) as session:
        row = session.scalars(query).one_or_none()
        if row is None:
            return None
        row.measured_at = func.now()
        return servers.server_named(session, row.name)
