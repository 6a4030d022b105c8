"""`copyhold server …`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import text

from control_plane.registry.engine import transaction
from tests.cli.shell import Shell
from tests.platform_under_test import PlatformUnderTest

LISTED = {"name", "provider", "region", "models", "status", "tenants", "capacity", "connections", "warm"}
CREATE = ("tenant", "create", "Acme", "--plan", "starter")


def test_servers_are_listed_with_what_they_hold(shell: Shell) -> None:
    found = shell("server", "list", "--json").json
    assert [row["name"] for row in found] == ["alpha", "beta"]
    assert all(row.keys() == LISTED for row in found)
    assert found[0]["models"] == ["pool", "bridge"]
    assert "alpha" in shell("server", "list").out


def test_a_server_is_shown_with_its_databases(shell: Shell) -> None:
    shown = shell("server", "show", "alpha", "--json").json
    assert shown.keys() == LISTED | {"host", "port", "databases", "ready"}
    assert {row["name"] for row in shown["databases"]} == {"pool_1", "bridge_1"}
    assert sum(row["homes"] for row in shown["databases"]) == shown["tenants"]
    assert "pool_1" in shell("server", "show", "alpha").out


@pytest.mark.parametrize("command", ["show", "drain", "activate"])
def test_an_unknown_server_is_named(shell: Shell, command: str) -> None:
    said = shell("server", command, "nowhere")
    assert (said.code, said.error) == (1, "there is no server 'nowhere'")


def test_a_draining_server_takes_no_tenants_until_it_is_activated(own_shell: Shell) -> None:
    assert own_shell("server", "drain", "beta").out == "beta is draining: it takes no new tenants\n"
    assert own_shell("server", "drain", "beta").out == "beta is draining already\n"
    for options in ((), ("--server", "beta")):
        said = own_shell(*CREATE, "--model", "silo", *options)
        assert said.code == 1
        assert "beta: is draining" in said.error
    assert own_shell("server", "activate", "beta", "--json").json["status"] == "active"
    entries = own_shell("audit", "list", "--json").json
    assert [row["facts"]["status"] for row in entries if row["action"] == "server.status"] == ["active", "draining"]


def test_a_full_server_takes_no_tenants(own_shell: Shell, own_platform: PlatformUnderTest) -> None:
    with _without_room(own_platform, "beta"):
        said = own_shell(*CREATE, "--model", "silo")
    assert said.code == 1
    assert "beta: is full" in said.error


@contextmanager
def _without_room(platform: PlatformUnderTest, server: str) -> Iterator[None]:
    resize = text("UPDATE servers SET capacity = :capacity WHERE name = :name")
    capacity = platform.server(server).capacity
    with transaction(platform.engine) as session:
        session.execute(resize, {"capacity": 0, "name": server})
    try:
        yield
    finally:
        with transaction(platform.engine) as session:
            session.execute(resize, {"capacity": capacity, "name": server})
