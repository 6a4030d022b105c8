"""What keeps a tenant from being moved is told before anything is begun, all of it at once."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from control_plane.domain.server import Server
from control_plane.domain.tenant import Model
from control_plane.doors import SOCKETS
from provisioning.moves.obstacles import obstacles, server_obstacles
from provisioning.moves.places import source_of
from tests.moves.conftest import NewHome
from tests.moves.homes import Home
from tests.tenant_app.cluster import running_cluster


def told(home: Home) -> list[str]:
    """The words before the colon."""
    with source_of(home.place) as connection:
        return [each.words.partition(":")[0] for each in obstacles(connection)]


@pytest.fixture
def poor() -> Iterator[Server]:
    """A server as PostgreSQL comes, and with less."""
    with running_cluster(max_replication_slots="0", max_wal_senders="0") as server:
        yield server


def test_a_server_that_is_prepared_has_none(home: NewHome) -> None:
    assert told(home(Model.BRIDGE)) == []


def test_settings_and_privileges_that_are_missing_are_all_told(home: NewHome, poor: Server) -> None:
    there = home(Model.SILO, poor)
    assert told(there) == [
        "wal_level is replica",
        "no replication slot is free",
        "no process that sends streams is free",
    ]
    there.do("ALTER ROLE copyhold_mover NOREPLICATION NOBYPASSRLS", "REVOKE copyhold_owner FROM copyhold_mover")
    assert told(there)[3:] == [
        "copyhold_mover may not read streams",
        "copyhold_mover does not see all rows",
        "copyhold_mover does not own the tables",
        "copyhold_mover may not make publications",
    ]
    # Known of a server before there is a home on it: whoever asks, in whatever database.
    with psycopg.connect(SOCKETS.dsn(poor, "postgres", "postgres")) as admin:
        elsewhere = [each.words.partition(":")[0] for each in server_obstacles(admin)]
    assert elsewhere == told(there)[:-1]
