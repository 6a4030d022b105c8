"""A server that joins or leaves while its worker is killed ever a little later is there, or gone, in the end."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from control_plane.domain.server import Server, ServerStatus
from control_plane.domain.tenant import Model
from control_plane.doors import sealed
from control_plane.registry import warm
from control_plane.registry.engine import transaction
from control_plane.registry.servers import all_servers
from control_plane.registry.tables import DatabaseRow
from control_plane.registry.workflows import ADD_SERVER, REMOVE_SERVER
from control_plane.tenants import joining
from tests.platform_under_test import PlatformUnderTest, running_platform
from tests.provisioning import worker
from tests.provisioning.workers import workers_alone
from tests.servers import remote
from tests.servers.remote import RemoteServer, remote_server
from tests.service_user import as_service_user, killed_as_service_user

pytestmark = pytest.mark.slow

CHIEF = "chief"
ROLES_AND_DATABASES = """
SELECT datname::text FROM pg_database UNION ALL SELECT rolname::text FROM pg_roles WHERE rolname !~ '^pg_'
 ORDER BY 1
"""


@pytest.fixture(scope="module")
def quiet() -> Iterator[PlatformUnderTest]:
    """A platform on which nobody works but the tests."""
    with running_platform() as platform, workers_alone(platform):
        yield platform


@pytest.fixture(scope="module")
def theirs() -> Iterator[RemoteServer]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(remote.OPTIONS, "fsync", "on")
        with remote_server(prepared=False) as server:
            with server.superuser() as superuser:
                superuser.execute(f"CREATE ROLE {CHIEF} LOGIN SUPERUSER")
            server.set_password(CHIEF)
            yield server


def begin(platform: PlatformUnderTest, server: RemoteServer) -> None:
    """Enter it on the roll, as whoever adds it does."""
    wish = Server(
        name="gamma",
        provider="existing",
        region="there",
        host=server.host,
        port=server.port,
        models=tuple(Model),
        capacity=10,
        connections=0,
        status=ServerStatus.ADDING,
        admin=CHIEF,
        ca=server.ca,
        sealed_passwords=sealed(platform.keyring, "gamma", {CHIEF: server.passwords[CHIEF]}),
    )
    with transaction(platform.engine) as session:
        assert joining.join(session, platform.workflows, wish, "tests")


def what_is_there(server: RemoteServer) -> list[str]:
    with server.superuser() as superuser:
        return [name for (name,) in superuser.execute(ROLES_AND_DATABASES).fetchall()]


def cut_ever_later(platform: PlatformUnderTest, kind: str, every: int) -> int:
    """Begin anew after each kill, until it comes to its end; how often it was begun."""
    subject, work = warm.subject_of("gamma"), worker.carry_out_until_statement
    for number in count(1):
        if not killed_as_service_user(platform.data, work, platform.settings, subject, kind, 1 + number * every):
            return number
    raise AssertionError


def test_a_server_that_is_killed_in_joining_and_in_leaving(quiet: PlatformUnderTest, theirs: RemoteServer) -> None:
    before = what_is_there(theirs)
    begin(quiet, theirs)
    assert cut_ever_later(quiet, ADD_SERVER, 12) > 5
    assert quiet.server("gamma").status is ServerStatus.ACTIVE
    assert quiet.server("gamma").connections == 87
    made = set(what_is_there(theirs)) - set(before)
    assert {"copyhold_migrator", "copyhold_mover", "copyhold_backup", "copyhold_owner"} < made
    assert len([name for name in made if name.startswith("template_")]) == 1
    assert not [name for name in made if name.startswith("building_")]

    as_service_user(quiet.data, worker.carry_out, quiet.settings, warm.subject_of("gamma"), ADD_SERVER)
    assert set(what_is_there(theirs)) - set(before) == made

    with transaction(quiet.engine) as session:
        joining.leave(session, quiet.workflows, "gamma", "tests")
    assert cut_ever_later(quiet, REMOVE_SERVER, 4) > 5
    assert what_is_there(theirs) == before
    with transaction(quiet.engine) as session:
        assert "gamma" not in {server.name for server in all_servers(session)}
        rows = session.query(DatabaseRow).filter(DatabaseRow.server == "gamma").all()
        assert {row.state for row in rows} == {"gone"}
    as_service_user(quiet.data, worker.carry_out, quiet.settings, warm.subject_of("gamma"), REMOVE_SERVER)


def test_what_was_begun_can_be_taken_back(quiet: PlatformUnderTest, theirs: RemoteServer) -> None:
    before = what_is_there(theirs)
    begin(quiet, theirs)
    subject = warm.subject_of("gamma")
    assert killed_as_service_user(
        quiet.data, worker.carry_out_until_statement, quiet.settings, subject, ADD_SERVER, 150
    )
    assert what_is_there(theirs) != before
    with transaction(quiet.engine) as session:
        joining.leave(session, quiet.workflows, "gamma", "tests")
    as_service_user(quiet.data, worker.carry_out, quiet.settings, subject, REMOVE_SERVER)
    assert what_is_there(theirs) == before
