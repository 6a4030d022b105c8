"""`copyhold server …`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from sqlalchemy import text

from control_plane.domain.server import ServerStatus
from control_plane.registry import servers
from control_plane.registry.engine import transaction
from tests.cli.shell import Shell
from tests.platform_under_test import PlatformUnderTest

LISTED = {
    *("name", "provider", "region", "models", "status", "labels", "warm", "host", "port", "admin", "tls"),
    *("tenants", "capacity", "connections", "subscribed", "capacity_bytes", "used_bytes", "measured_at"),
    *("capacity_per_minute", "per_minute"),
}
MEASURED = {"measured_at": 0, "used_bytes": 0, "per_minute": 0}
CREATE = ("tenant", "create", "Acme", "--plan", "starter")


def test_servers_are_listed_with_what_they_hold(shell: Shell) -> None:
    found = shell("server", "list", "--json").json
    assert [row["name"] for row in found] == ["alpha", "beta"]
    assert all(row.keys() == LISTED for row in found)
    assert found[0]["models"] == ["pool", "bridge"]
    assert "alpha" in shell("server", "list").out


def test_a_server_is_shown_with_its_databases(shell: Shell) -> None:
    shown = shell("server", "show", "alpha", "--json").json
    assert shown.keys() == LISTED | {"databases", "ready", "failure", "instance", "catalogue"}
    assert {row["name"] for row in shown["databases"]} == {"pool_1", "bridge_1"}
    assert sum(row["homes"] for row in shown["databases"]) == shown["tenants"]
    assert "pool_1" in shell("server", "show", "alpha").out


def test_a_server_tells_how_its_connections_are_shared_out(shell: Shell) -> None:
    shown = shell("server", "show", "alpha", "--json").json
    sizes = [row["pool_size"] for row in shown["databases"]]
    assert all(sizes)
    assert shown["subscribed"] == pytest.approx(sum(sizes) / shown["connections"], abs=0.001)
    assert f"{shown['connections']}, {shown['subscribed']:.0%} subscribed" in shell("server", "show", "alpha").out


def test_labels_and_room_decide_who_is_taken(own_shell: Shell) -> None:
    assert own_shell("server", "label", "beta", "--add", "plan-enterprise").out == "beta is labelled plan-enterprise\n"
    refused = own_shell(*CREATE, "--model", "silo", "--dry-run")
    assert (refused.code, "beta: takes only the plan enterprise" in refused.error) == (1, True)
    own_shell("server", "label", "beta", "--remove", "plan-enterprise")
    assert own_shell(*CREATE, "--model", "silo", "--dry-run").out.startswith("beta: 1 of 2 servers fit")
    assert own_shell("server", "room", "beta", "--bytes", "1K").out == "beta takes 1000 tenants, 1.0K bytes\n"
    measured = own_shell("server", "list", "--measure", "--json").json[1]
    refused = own_shell(*CREATE, "--model", "silo", "--dry-run")
    assert f"beta: is full ({measured['used_bytes']} of 1024 bytes)" in refused.error
    assert own_shell("server", "room", "beta", "--bytes", "any").out == "beta takes 1000 tenants, any number of bytes\n"
    assert own_shell(*CREATE, "--model", "silo", "--dry-run").code == 0
    said = own_shell("server", "room", "beta", "--per-minute", "100").out
    assert said == "beta takes 1000 tenants, any number of bytes, 100 transactions a minute\n"
    assert own_shell("server", "show", "beta", "--json").json["capacity_per_minute"] == 100
    own_shell("server", "room", "beta", "--per-minute", "any")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("grow", "beta", "--model", "silo"), 2, "Only pools and bridges are added to a server"),
        (("grow", "beta", "--model", "pool"), 2, "beta takes no pool tenants"),
        (("grow", "alpha", "--model", "pool", "--to", "0"), 2, "a server has 1 to 100 pool databases, not 0"),
        (("grow", "nowhere", "--model", "pool"), 1, "there is no server 'nowhere'"),
        (("label", "alpha"), 2, "say which: --add LABEL, --remove LABEL"),
        (("label", "alpha", "--add", "No"), 2, "'No' is no label"),
        (("label", "alpha", "--add", "a", "--remove", "a"), 2, "'a' cannot be added and removed at once"),
        (("room", "alpha"), 2, "say what: --tenants N, --bytes SIZE, --per-minute N, --connections N"),
        (("room", "alpha", "--per-minute", "1K"), 2, "'1K' is no number: write 120000 or `any`"),
        (("room", "alpha", "--bytes", "much"), 2, "'much' is no size"),
        (("room", "alpha", "--connections", "9"), 2, "alpha is a part of this machine: its connections are"),
        (("room", "alpha", "--tenants", "-1"), 2, "The room of a server is no number below 0"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(
    shell: Shell, arguments: tuple[str, ...], code: int, said: str
) -> None:
    before = shell("server", "list", "--json").json
    refused = shell("server", *arguments)
    assert (refused.code, refused.error.startswith(said)) == (code, True), refused.error
    now = shell("server", "list", "--json").json
    assert [row | MEASURED for row in now] == [row | MEASURED for row in before]


@pytest.mark.parametrize(
    "command", [("show",), ("drain",), ("activate",), ("lost", "--yes")], ids=lambda words: words[0]
)
def test_an_unknown_server_is_named(shell: Shell, command: tuple[str, ...]) -> None:
    said = shell("server", *command, "nowhere")
    assert (said.code, said.error) == (1, "there is no server 'nowhere'")


def test_a_draining_server_takes_no_tenants_until_it_is_activated(own_shell: Shell) -> None:
    assert own_shell("server", "drain", "beta", "--stay").out == "beta is draining: it takes no new tenants\n"
    assert own_shell("server", "drain", "beta", "--stay").out == "beta is draining already\n"
    for options in ((), ("--server", "beta")):
        said = own_shell(*CREATE, "--model", "silo", *options)
        assert said.code == 1
        assert "beta: is draining" in said.error
    assert own_shell("server", "activate", "beta", "--json").json["status"] == "active"
    entries = own_shell("audit", "list", "--json").json
    assert [row["facts"]["status"] for row in entries if row["action"] == "server.status"] == ["active", "draining"]


def test_a_server_is_given_up_only_when_that_is_meant_and_it_is_gone(own_shell: Shell) -> None:
    said = own_shell("server", "lost", "beta")
    assert (said.code, "say --yes if that is meant" in said.err) == (2, True)
    said = own_shell("server", "lost", "beta", "--yes")
    assert (said.code, said.error) == (1, "beta answers: it is not lost")
    assert own_shell("server", "show", "beta", "--json").json["status"] == "active"


def test_what_keeps_a_server_from_being_measured_is_said_in_words(
    own_shell: Shell, own_platform: PlatformUnderTest
) -> None:
    beta = own_platform.server("beta")
    with transaction(own_platform.engine) as session:
        for name, status in (("coming", ServerStatus.ADDING), ("gone", ServerStatus.DRAINING)):
            servers.register(session, replace(beta, name=name, host="127.0.0.1", admin="keeper", status=status))
    try:
        said = own_shell("server", "list", "--measure").err
    finally:
        with transaction(own_platform.engine) as session:
            for name in ("coming", "gone"):
                servers.delete_server(session, name)
    assert said == "gone could not be measured: the roll has no password of keeper on the server gone\n"


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
