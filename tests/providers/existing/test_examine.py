"""A server that cannot be reached, or entered, ends in a clear finding, and soon."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from control_plane.doors import Doors
from provisioning.providers.existing import reaching
from provisioning.providers.existing.address import Address
from provisioning.providers.existing.examine import Access, examine
from provisioning.providers.existing.facts import Trouble
from tests.platform_under_test import free_port
from tests.servers.certificates import Authority
from tests.servers.remote import RULES, RemoteServer, remote_server

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server() -> Iterator[RemoteServer]:
    with remote_server() as started:
        yield started


@pytest.fixture
def access(server: RemoteServer, tmp_path: Path) -> Access:
    return Access(
        address=Address(host=server.host, port=server.port, admin=server.admin),
        ca=server.ca,
        password=server.passwords[server.admin],
        doors=Doors(keyring=None, certificates=tmp_path),
        role_passwords=server.passwords,
    )


def trouble(access: Access) -> Trouble:
    found = examine(access).trouble
    assert found is not None
    assert found.remedy
    return found


def elsewhere(access: Access, host: str, port: int) -> Access:
    return replace(access, address=replace(access.address, host=host, port=port))


def test_who_gets_in_learns_what_there_is(access: Access) -> None:
    facts = examine(access)
    assert facts.trouble is None
    assert facts.admin.createrole
    assert not facts.admin.superuser
    assert facts.roles["copyhold_mover"].replication
    assert facts.refused == {}


def test_a_login_with_another_password_is_named(access: Access) -> None:
    facts = examine(replace(access, role_passwords={**access.role_passwords, "copyhold_mover": "another"}))
    assert list(facts.refused) == ["copyhold_mover"]


def test_a_name_that_leads_nowhere(access: Access) -> None:
    assert trouble(elsewhere(access, "no-such-host.invalid", 5432)).what == "name"


def test_a_port_on_which_nobody_listens(access: Access) -> None:
    assert trouble(elsewhere(access, "127.0.0.1", free_port())).what == "port"


def test_a_server_that_takes_the_connection_and_is_silent(access: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reaching, "STEP_S", 0.3)
    with socket.create_server(("127.0.0.1", free_port())) as mute:
        found = trouble(elsewhere(access, "127.0.0.1", mute.getsockname()[1]))
    assert (found.what, "is silent" in found.why) == ("port", True)


def test_another_authority_of_the_same_name_is_not_believed(access: Access) -> None:
    found = trouble(replace(access, ca=Authority().pem))
    assert (found.what, "--ca FILE" in found.remedy) == ("certificate", True)


def test_a_certificate_of_another_name_is_not_believed(access: Access, server: RemoteServer) -> None:
    server.present(server.authority.certificate("db.example.com"))
    try:
        assert trouble(access).what == "certificate"
    finally:
        server.present(server.authority.certificate())


def test_a_server_without_tls(access: Access) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as plain:

        def refuse() -> None:
            connection, _ = plain.accept()
            with connection:
                connection.recv(8)
                connection.sendall(b"N")

        threading.Thread(target=refuse, daemon=True).start()
        found = trouble(elsewhere(access, "127.0.0.1", plain.getsockname()[1]))
    assert (found.what, "offers no TLS" in found.why) == ("tls", True)


def test_a_wrong_password(access: Access) -> None:
    found = trouble(replace(access, password="wrong"))
    assert (found.what, "password authentication failed" in found.why) == ("login", True)


def test_an_address_that_the_server_lets_nobody_in_from(access: Access, server: RemoteServer) -> None:
    server.allow("")
    try:
        found = trouble(access)
        assert (found.what, "pg_hba.conf" in found.remedy) == ("login", True)
    finally:
        server.allow(RULES)


def test_its_password_is_not_shown(access: Access) -> None:
    assert access.password not in repr(access)
    assert access.password not in repr(examine(replace(access, ca="")))
