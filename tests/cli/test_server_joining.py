"""`copyhold server check`, `add` and `remove`: a server that others run is taken in, lived on, and let go."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from control_plane import audit
from control_plane.registry.engine import transaction
from control_plane.registry.tables import ServerRow, WorkflowRow
from tests.cli.shell import Shell
from tests.forking import Said
from tests.platform_under_test import PlatformUnderTest, running_platform
from tests.servers import remote
from tests.servers.remote import RemoteServer, remote_server

pytestmark = pytest.mark.slow

CHIEF = "chief"
"""A superuser who may come in from outside."""


@pytest.fixture(scope="module")
def house() -> Iterator[PlatformUnderTest]:
    with running_platform() as started:
        yield started


@pytest.fixture(scope="module")
def command(house: PlatformUnderTest) -> Shell:
    return Shell(house.data)


@pytest.fixture
def bare() -> Iterator[RemoteServer]:
    """A server as it is when it has been made, and an administrator who may make databases and roles."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(remote.OPTIONS, "fsync", "on")
        patch.delitem(remote.OPTIONS, "wal_level")
        with remote_server(prepared=False) as server:
            yield server


@pytest.fixture
def whole(bare: RemoteServer) -> RemoteServer:
    """The same with an administrator who may do everything, and what only a restart changes changed."""
    with bare.superuser() as superuser:
        superuser.execute(f"CREATE ROLE {CHIEF} LOGIN SUPERUSER")
        superuser.execute("ALTER SYSTEM SET wal_level = 'logical'")
    bare.set_password(CHIEF)
    bare.admin = CHIEF
    bare.stop()
    bare.start()
    return bare


def asked(server: RemoteServer, *words: str) -> tuple[str, ...]:
    """How a command is told of that server: its password in a file."""
    file = server.folder / "password"
    file.write_text(server.passwords[server.admin] + "\n")
    return (*words, "--ca", str(server.ca_file), "--password-file", str(file))


def address(server: RemoteServer) -> str:
    return f"{server.host}:{server.port}/{server.admin}"


def check(command: Shell, server: RemoteServer, *words: str) -> Said:
    return command(*asked(server, "server", "check", address(server), *words))


def add(command: Shell, server: RemoteServer, *words: str, name: str = "gamma") -> Said:
    return command(*asked(server, "server", "add", name, "--address", address(server), *words))


def paste(server: RemoteServer, text: str) -> None:
    with server.superuser() as superuser:
        for statement in text.splitlines():
            superuser.execute(statement.encode())


def on_the_roll(house: PlatformUnderTest) -> set[str]:
    with transaction(house.engine) as session:
        return set(session.scalars(select(ServerRow.name)))


def test_the_sql_that_is_printed_is_whole(command: Shell, bare: RemoteServer) -> None:
    said = check(command, bare, "--json")
    assert said.code == 1
    first = json.loads(said.out)
    assert {"role", "membership", "wal_level", "open_databases"} <= {
        each["what"] for each in first["findings"] if each["level"] != "ok"
    }
    paste(bare, first["sql"])
    bare.stop()
    bare.start()
    again = check(command, bare, "--json").json
    assert (again["fits"], again["sql"]) == (True, "")
    assert {each["level"] for each in again["findings"]} == {"ok"}


def test_a_server_that_lacks_something_is_refused_with_the_sql_and_leaves_no_trace(
    command: Shell, house: PlatformUnderTest, bare: RemoteServer
) -> None:
    said = add(command, bare)
    assert said.code == 1
    assert "CREATE ROLE copyhold_mover LOGIN REPLICATION BYPASSRLS PASSWORD 'SCRAM-SHA-256$" in said.out
    assert "there is no copyhold_mover" in said.error
    assert on_the_roll(house) == {"alpha", "beta"}


def test_a_server_is_taken_in_lived_on_and_let_go(
    command: Shell, house: PlatformUnderTest, whole: RemoteServer
) -> None:
    assert "would be added" in add(command, whole, "--dry-run", "--label", "only-far").out
    assert on_the_roll(house) == {"alpha", "beta"}
    said = add(command, whole, "--label", "only-far", "--region", "there", "--connections", "40")
    assert said.code == 0, said.err + said.out
    assert said.out.splitlines()[-1] == "gamma takes tenants"
    shown = command("server", "show", "gamma", "--json").json
    assert (shown["status"], shown["admin"], shown["tls"], shown["connections"]) == ("active", CHIEF, "given", 40)
    assert "is on the roll already" in add(command, whole).out
    known = command("server", "check", address(whole))
    assert (known.code, "the certificate and the login are in order" in known.out) == (0, True), known.err
    said = command("server", "room", "gamma", "--connections", "24")
    assert said.out == "gamma takes 1000 tenants, any number of bytes, over 24 connections\n", said.err
    shown = command("server", "show", "gamma", "--json").json
    assert (shown["connections"], sum(each["pool_size"] for each in shown["databases"])) == (24, 24)
    assert command("pooler", "diff").code == 0
    for model in ("pool", "silo"):
        made = command(
            "tenant",
            "create",
            f"Far {model}",
            "--plan",
            "starter",
            "--model",
            model,
            "--server",
            "gamma",
            "--label",
            "far",
            "--json",
        )
        assert made.code == 0, made.err
    refused = command("server", "remove", "gamma", "--yes")
    assert refused.error.startswith("gamma holds tenants: far-pool, far-silo; first `copyhold server drain gamma`")
    for slug in ("far-pool", "far-silo"):
        closed = command("tenant", "close", slug, "--now", "--no-export", "--yes")
        assert closed.code == 0, closed.err
    gone = command("server", "remove", "gamma", "--yes")
    assert gone.code == 0, gone.err
    assert on_the_roll(house) == {"alpha", "beta"}
    with whole.superuser() as superuser:
        rows = superuser.execute(
            "SELECT datname::text FROM pg_database UNION ALL SELECT rolname::text FROM pg_roles WHERE rolname !~ '^pg_'"
        ).fetchall()
    assert sorted(name for (name,) in rows) == sorted(
        ["postgres", "template0", "template1", "postgres", remote.ADMIN, CHIEF]
    )
    with transaction(house.engine) as session:
        done = {row.action for row in audit.newest(session, limit=50) if row.subject == "gamma"}
    assert {"server.add", "server.added", "server.remove", "server.removed"} <= done


def test_no_password_is_seen_anywhere(
    command: Shell, house: PlatformUnderTest, whole: RemoteServer, tmp_path: Path
) -> None:
    said = add(command, whole, "--models", "silo", name="delta")
    assert said.code == 0, said.err
    server = house.server("delta")
    passwords = [whole.passwords[CHIEF], house.estate.doors.password(server, "copyhold_migrator")]
    seen = said.out + said.err + whole.log() + repr(server)
    seen += "".join(file.read_text(errors="replace") for file in (house.data / "logs").iterdir())
    with transaction(house.engine) as session:
        seen += "".join(repr(row.facts) for row in audit.newest(session, limit=50))
        seen += "".join(f"{row.id} {row.error}" for row in session.scalars(select(WorkflowRow)))
    assert not [each for each in passwords if each in seen]
    assert command("server", "remove", "delta", "--yes").code == 0


def test_an_administrator_who_is_no_superuser_suffices_once_the_sql_has_run(command: Shell, bare: RemoteServer) -> None:
    paste(bare, json.loads(check(command, bare, "--json").out)["sql"])
    bare.stop()
    bare.start()
    said = add(command, bare, name="epsilon")
    assert said.code == 0, said.err
    silos_alone = "epsilon takes silos alone while its catalogue is open: see `copyhold server catalogue`"
    assert said.out.splitlines()[-1] == silos_alone
    bare.psql(command("server", "hardening", "epsilon").out)
    assert "its catalogue is closed" in command("server", "catalogue", "epsilon").out
    for model in ("pool", "bridge", "silo"):
        made = command(
            "tenant", "create", f"Near {model}", "--plan", "starter", "--model", model, "--server", "epsilon"
        )
        assert made.code == 0, made.err
