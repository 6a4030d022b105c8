"""The doors to servers: which proof each asks for, and who is not let in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from control_plane.domain.server import Server
from control_plane.doors import SOCKETS, Doors, NoDoorError, sealed
from control_plane.keyring import Keyring
from provisioning.roles import MIGRATOR
from tests.domain.servers import server

PASSWORD = "correct horse"


class Counting(Keyring):
    """Counts how often it opens something."""

    opened = 0

    def unseal(self, sealed: str, *, belongs_to: str) -> str:
        """See Keyring."""
        self.opened += 1
        return super().unseal(sealed, belongs_to=belongs_to)


KEYRING = Keyring(bytes(range(32)))
BY_SOCKET = server("near")
BY_TCP = replace(
    server("far"),
    host="db.example",
    ca="-----BEGIN…\n",
    sealed_passwords=sealed(KEYRING, "far", {MIGRATOR: PASSWORD}),
)


@pytest.fixture
def doors(tmp_path: Path) -> Doors:
    return Doors(keyring=Counting(bytes(range(32))), certificates=tmp_path / "certificates")


def test_by_a_socket_nothing_is_asked_for(doors: Doors) -> None:
    facts = conninfo_to_dict(doors.dsn(BY_SOCKET, "pool_1", MIGRATOR))
    assert facts == conninfo_to_dict(SOCKETS.dsn(BY_SOCKET, "pool_1", MIGRATOR))
    assert facts.keys() == {"host", "port", "dbname", "user", "connect_timeout", "application_name"}
    assert doors.certificates is not None
    assert not doors.certificates.exists()


def test_by_tcp_it_is_tls_the_servers_name_and_a_password(doors: Doors) -> None:
    facts = conninfo_to_dict(doors.dsn(BY_TCP, "pool_1", MIGRATOR))
    assert (facts["sslmode"], facts["require_auth"], facts["password"]) == ("verify-full", "scram-sha-256", PASSWORD)
    assert Path(str(facts["sslrootcert"])).read_text() == BY_TCP.ca


def test_by_tcp_a_network_that_is_cut_is_noticed_within_half_a_minute(doors: Doors) -> None:
    facts = conninfo_to_dict(doors.dsn(BY_TCP, "pool_1", MIGRATOR))
    idle, interval, count = (int(facts[f"keepalives_{word}"] or 0) for word in ("idle", "interval", "count"))
    assert 0 < idle + interval * count <= 30
    assert facts["tcp_user_timeout"] == "30000"


def test_without_certificates_of_its_own_it_is_whom_the_machine_believes(doors: Doors) -> None:
    facts = conninfo_to_dict(doors.dsn(replace(BY_TCP, ca=""), "pool_1", MIGRATOR))
    assert (facts["sslmode"], facts["sslrootcert"]) == ("verify-full", "system")


def test_a_login_of_an_app_brings_its_own_password(doors: Doors) -> None:
    assert conninfo_to_dict(doors.dsn(BY_TCP, "pool_1", "pool_1", "its own"))["password"] == "its own"


def test_what_is_sealed_is_opened_once_and_the_file_written_once(doors: Doors) -> None:
    first = conninfo_to_dict(doors.dsn(BY_TCP, "pool_1", MIGRATOR))
    written = Path(str(first["sslrootcert"])).stat().st_ino
    for number in range(100):
        again = conninfo_to_dict(doors.dsn(replace(BY_TCP), f"silo_{number}", MIGRATOR))
        assert (again["sslrootcert"], again["password"]) == (first["sslrootcert"], first["password"])
    assert isinstance(doors.keyring, Counting)
    assert doors.keyring.opened == 1
    assert Path(str(first["sslrootcert"])).stat().st_ino == written


def test_what_is_changed_on_the_roll_counts_from_then_on(doors: Doors) -> None:
    before = conninfo_to_dict(doors.dsn(BY_TCP, "pool_1", MIGRATOR))
    later = replace(BY_TCP, ca="others\n", sealed_passwords=sealed(KEYRING, "far", {MIGRATOR: "battery"}))
    after = conninfo_to_dict(doors.dsn(later, "pool_1", MIGRATOR))
    assert after["password"] == "battery"
    assert Path(str(after["sslrootcert"])).read_text() == "others\n"
    assert Path(str(before["sslrootcert"])).read_text() == BY_TCP.ca, "whoever knows the older roll still reads it"


def test_nobody_is_shown_a_password(doors: Doors) -> None:
    doors.dsn(BY_TCP, "pool_1", MIGRATOR)
    assert PASSWORD not in repr(doors)
    assert str(BY_TCP.sealed_passwords) not in repr(BY_TCP)


@pytest.mark.parametrize(
    ("there", "role", "why"),
    [
        (BY_TCP, "somebody", "no password of somebody on the server far"),
        (replace(BY_TCP, sealed_passwords=None), MIGRATOR, "no password of copyhold_migrator on the server far"),
        (replace(BY_TCP, name="another"), MIGRATOR, "passwords to the server another cannot be opened"),
    ],
)
def test_what_is_missing_on_the_roll_is_told(doors: Doors, there: Server, role: str, why: str) -> None:
    with pytest.raises(NoDoorError, match=why):
        doors.dsn(there, "pool_1", role)
