"""The server under test refuses what a well kept server refuses; otherwise tests against it would prove nothing."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.servers.certificates import Authority
from tests.servers.remote import RemoteServer, remote_server

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def remote() -> Iterator[RemoteServer]:
    with remote_server() as server:
        yield server


def test_who_knows_password_and_authority_gets_in(remote: RemoteServer) -> None:
    with remote.connect() as connection:
        assert connection.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone() == (True,)


def test_without_tls_nobody_gets_in(remote: RemoteServer) -> None:
    with pytest.raises(psycopg.OperationalError, match="no encryption"):
        remote.connect(sslmode="disable")


def test_a_wrong_password_is_refused(remote: RemoteServer) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        remote.connect(password="wrong")


def test_another_authority_of_the_same_name_is_not_believed(remote: RemoteServer) -> None:
    other = remote.folder / "other.pem"
    other.write_text(Authority().pem)
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        remote.connect(sslrootcert=other)


def test_the_administrator_is_no_superuser(remote: RemoteServer) -> None:
    with remote.connect() as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("ALTER FUNCTION pg_catalog.int4eq(int4, int4) COST 30")
