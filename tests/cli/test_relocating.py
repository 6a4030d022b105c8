"""`copyhold server drain` and `rebalance`, and `copyhold tenant plan`: what they refuse, foretell and say."""

from __future__ import annotations

from typing import cast

import pytest

from cli.moving import MoveShown
from cli.relocating import new_line
from tests.cli.shell import Shell
from tests.platform_under_test import PlatformUnderTest
from tests.waiting import until


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("drain", "beta", "--call-off"), 2, "--call-off goes with --cancel"),
        (("drain", "beta", "--cancel", "--dry-run"), 2, "--cancel goes with --call-off and nothing else"),
        (("drain", "beta", "--at-once", "0"), 2, "A server has 1 to 20 moves at once."),
        (("drain", "beta", "--dry-run", "--undo-window", "30d"), 2, "The home that was left is kept for 0 to 7 days."),
        (("drain", "beta", "--cancel"), 1, "beta is not being drained"),
        (("drain", "nowhere", "--dry-run"), 1, "there is no server 'nowhere'"),
        (("rebalance", "--max", "0"), 2, "say how many tenants may be moved, 1 or more"),
        (("rebalance", "--cancel"), 1, "nobody is being moved for servers to be used evenly"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(
    shell: Shell, arguments: tuple[str, ...], code: int, said: str
) -> None:
    refused = shell("server", *arguments)
    assert (refused.code, refused.error) == (code, said)
    assert {each["status"] for each in shell("server", "list", "--json").json} == {"active"}


def test_what_is_told_of_a_move_is_told_once() -> None:
    told: dict[str, str] = {}
    begun = cast(MoveShown, {"phase": "requested", "target": None, "reason": None, "stall_ms": None})
    called_off = cast(MoveShown, {**begun, "phase": "called_off", "reason": "no room"})
    looks = [begun, begun, cast(MoveShown, {**begun, "phase": "copying"}), called_off, called_off]
    said = [line for line in (new_line(told, "acme", each) for each in looks) if line]
    assert said == ["  acme begins to move", "  acme stays: no room"]
    assert new_line(told, "globex", begun) == "  globex begins to move"


def test_who_fits_nowhere_is_told_before(shell: Shell, platform: PlatformUnderTest) -> None:
    tenant = platform.tenant("silo")
    said = shell("server", "drain", "beta", "--dry-run")
    assert said.code == 0, said.err
    assert f"{tenant.slug} stays: no server can take a silo tenant (alpha: takes no silo tenants" in said.out
    assert "served all the time" in said.out


def test_servers_that_are_nearly_even_are_left_alone(shell: Shell) -> None:
    assert shell("server", "rebalance").out == "servers are used evenly: nobody moves\n"
    assert shell("server", "rebalance", "--dry-run", "--json").json["moves"] == []


def test_a_plan_takes_a_tenant_to_what_it_promises(shell: Shell, platform: PlatformUnderTest) -> None:
    tenant = platform.tenant("pool")
    told = shell("tenant", "plan", tenant.slug, "enterprise", "--dry-run").out
    assert told == f"{tenant.slug} would be on enterprise\nit would be moved to a silo on beta\n"
    assert shell("tenant", "plan", tenant.slug, "enterprise", "--no-move").out == f"{tenant.slug} is on enterprise\n"
    mends = f"copyhold tenant move {tenant.slug} --to silo"
    assert mends in shell("tenant", "show", tenant.slug).out
    begun = shell("tenant", "plan", tenant.slug, "enterprise", "--json").json
    assert (begun["status"], begun["outcome"]["to"], begun["outcome"]["changed"]) == ("moving", "silo", False)

    def shown() -> tuple[object, ...]:
        found = shell("tenant", "show", tenant.slug, "--json").json
        return found["status"], found["model"], found["misplaced"]

    until(lambda: shown() == ("active", "silo", None), what="it lives where its plan says")
    down = shell("tenant", "plan", tenant.slug, "starter", "--move")
    assert (down.code, down.out) == (0, f"{tenant.slug} is on starter\n")
    assert "it is not moved to a pool" in down.err
    assert "--settle gives it up now" in down.err
