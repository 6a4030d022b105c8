"""At the door of a server that is reached by TCP: who is let in, and whom the platform does not believe."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from control_plane.doors import Doors, sealed
from control_plane.keyring import Keyring
from provisioning.doctor.servers import look_at_server
from tests.servers.certificates import Authority
from tests.servers.far import server_on_roll
from tests.servers.remote import HOST, RemoteServer, remote_server
from tests.waiting import until

pytestmark = pytest.mark.slow
KEYRING = Keyring(bytes(range(32)))
RULES = f"hostssl all all {HOST}/32 scram-sha-256\n"


@pytest.fixture
def doors(tmp_path: Path) -> Doors:
    return Doors(keyring=KEYRING, certificates=tmp_path / "certificates")


@pytest.fixture(scope="module")
def remote() -> Iterator[RemoteServer]:
    with remote_server() as made:
        yield made


def enter(doors: Doors, remote: RemoteServer, **others: Any) -> None:
    there = server_on_roll(remote, KEYRING, **others)
    with psycopg.connect(doors.dsn(there, "postgres", remote.admin)) as connection:
        assert connection.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone() == (True,)


def test_who_has_all_of_it_is_let_in(doors: Doors, remote: RemoteServer) -> None:
    enter(doors, remote)


def test_a_server_of_another_authority_is_not_believed(doors: Doors, remote: RemoteServer) -> None:
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        enter(doors, remote, ca=Authority().pem)
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        enter(doors, remote, ca="")


def test_a_server_of_another_name_is_not_believed(doors: Doors, remote: RemoteServer) -> None:
    remote.present(remote.authority.certificate("db.example"))
    try:
        until(lambda: "does not match" in refusal(doors, remote), what="it is told to be another's")
    finally:
        remote.present(remote.authority.certificate())
        until(lambda: refusal(doors, remote) == "", what="it is believed again")


def test_a_wrong_password_is_refused(doors: Doors, remote: RemoteServer) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        enter(doors, remote, sealed_passwords=sealed(KEYRING, "far", {remote.admin: "guessed"}))


@pytest.mark.parametrize(
    ("rules", "why"),
    [
        (f"hostnossl all all {HOST}/32 scram-sha-256\n", "no pg_hba.conf entry"),
        (f"hostssl all all {HOST}/32 password\n", "authentication method requirement"),
        (f"hostssl all all {HOST}/32 trust\n", "authentication method requirement"),
    ],
)
def test_a_server_that_asks_for_less_gets_nothing(doors: Doors, remote: RemoteServer, rules: str, why: str) -> None:
    remote.allow(rules)
    try:
        until(lambda: why in refusal(doors, remote), what=why)
    finally:
        remote.allow(RULES)
        until(lambda: refusal(doors, remote) == "", what="it is as it was")


def test_the_doctor_says_why_nobody_gets_in(doors: Doors, remote: RemoteServer) -> None:
    for there, why in (
        (server_on_roll(remote, KEYRING, ca=Authority().pem), "certificate verify failed"),
        (server_on_roll(remote, KEYRING, sealed_passwords=None), "no password of keeper on the server far"),
    ):
        (found,) = look_at_server(doors, there, [], connections=1, lint=True).findings
        assert (found.check, why in found.what) == ("server_down", True), found


def refusal(doors: Doors, remote: RemoteServer) -> str:
    try:
        enter(doors, remote)
    except psycopg.OperationalError as error:
        return str(error)
    return ""
