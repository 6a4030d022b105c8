"""`copyhold tenant move` and `moves`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.shell import Shell
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest

MOVE = {
    "id",
    "tenant_id",
    "phase",
    "source",
    "target",
    "rows",
    "rows_total",
    "bytes",
    "recipe",
    "allow_freeze",
    "expected_stall_s",
    "note",
    "tries",
    "stall_ms",
    "verified",
    "reason",
    "actor",
    "workflow_id",
    "undo_until",
    "created_at",
    "switched_at",
    "ended_at",
}


@pytest.fixture
def company(platform: PlatformUnderTest) -> TenantUnderTest:
    """A tenant to be moved."""
    return platform.tenant("pool")


def events(printed: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in printed.splitlines()]


def test_a_dry_run_tells_where_how_much_and_how_long_and_does_nothing(shell: Shell, company: TenantUnderTest) -> None:
    told = shell("tenant", "move", company.slug, "--to", "silo", "--dry-run", "--json").json
    assert (told["to"], told["objections"]) == ("silo on beta", [])
    assert told["rows"] > 0
    assert told["seconds"] > 0
    assert told["stall_ms"] > 0
    assert (told["recipe"], told["note"], told["kept_s"]) == ("stream", None, 3600)
    said = shell("tenant", "move", company.slug, "--to", "silo", "--dry-run").out
    assert "served all the time" in said
    allowed = shell("tenant", "move", company.slug, "--to", "silo", "--dry-run", "--allow-freeze").out
    assert "--allow-freeze changes nothing: alpha can send a stream\n" in allowed
    assert shell("tenant", "moves", company.slug).err == "it has never moved\n"
    assert shell("tenant", "show", company.slug, "--json").json["status"] == "active"


def test_the_old_home_is_kept_as_the_settings_say_unless_the_command_does(
    shell: Shell, company: TenantUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    dry_run = ("tenant", "move", company.slug, "--to", "silo", "--dry-run", "--json")
    assert shell(*dry_run).json["kept_s"] == 3600
    monkeypatch.setenv("COPYHOLD_LIMITS__UNDO_WINDOW_S", "7200")
    assert shell(*dry_run).json["kept_s"] == 7200
    assert shell(*dry_run, "--undo-window", "0s").json["kept_s"] == 0
    monkeypatch.setenv("COPYHOLD_LIMITS__UNDO_WINDOW_S", "604801")
    said = shell(*dry_run)
    assert said.error.startswith("COPYHOLD_LIMITS__UNDO_WINDOW_S: ")


def test_a_tenant_moves_and_moves_back(shell: Shell, company: TenantUnderTest) -> None:
    said = shell("tenant", "move", company.slug, "--to", "bridge")
    assert said.code == 0, said.err
    assert "  copying\n" in said.out
    assert f"{company.slug} lives in a bridge on alpha" in said.out
    assert "the old home is kept until" in said.out
    shown = shell("tenant", "show", company.slug, "--json").json
    assert (shown["home"]["model"], shown["model"], shown["epoch"], shown["status"]) == (
        "bridge",
        "bridge",
        2,
        "active",
    )
    (row,) = shell("tenant", "moves", company.slug, "--json").json
    assert set(row) == MOVE
    assert (row["phase"], row["verified"], row["source"]["model"], row["target"]["model"]) == (
        "kept",
        True,
        "pool",
        "bridge",
    )
    assert "bridge alpha/" in shell("tenant", "moves", company.slug).out
    again = shell("tenant", "move", company.slug, "--to", "silo")
    assert again.code == 1
    assert "--settle gives it up now" in again.error
    late = shell("tenant", "move", company.slug, "--cancel")
    assert "it is too late to cancel" in late.error
    back = shell("tenant", "move", company.slug, "--back")
    assert back.code == 0, back.err
    assert shell("tenant", "show", company.slug, "--json").json["home"]["model"] == "pool"


def test_a_home_that_is_given_up_is_not_told_to_be_kept(shell: Shell, company: TenantUnderTest) -> None:
    assert shell("tenant", "move", company.slug, "--to", "bridge", "--undo-window", "1d").code == 0
    said = shell("tenant", "move", company.slug, "--settle", "--yes")
    assert said.code == 0, said.err
    assert said.out.splitlines()[-1].endswith("; the home that it has left goes")


def test_as_json_every_change_is_an_event(shell: Shell, company: TenantUnderTest) -> None:
    said = shell("tenant", "move", company.slug, "--to", "bridge", "--undo-window", "0s", "--allow-freeze", "--json")
    assert said.code == 0, said.err
    *changes, last = events(said.out)
    assert {event["event"] for event in changes} == {"move"}
    assert last["event"] == "end"
    assert set(last) == {*MOVE, "event"}
    assert last["phase"] in {"kept", "cleaning", "done"}
    assert last["rows"] == last["rows_total"] > 0
    assert (last["recipe"], last["expected_stall_s"]) == ("stream", None)
    assert last["note"] == "--allow-freeze changes nothing: alpha can send a stream"


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ((), "say which: --to MODEL"),
        (("--to", "silo", "--cancel"), "say which: --to MODEL"),
        (("--back", "--server", "beta"), "go with --to"),
        (("--cancel", "--dry-run"), "go with --to"),
        (("--back", "--allow-freeze"), "go with --to"),
        (("--back", "--database", "pool_2"), "go with --to"),
        (("--to", "pool", "--database", "pool_99"), "there is no pool or bridge 'pool_99'"),
        (("--to", "bridge", "--database", "pool_1"), "pool_1 is a pool on alpha"),
        (("--settle",), "say --yes"),
        (("--to", "silo", "--undo-window", "soon"), "is no duration"),
        (("--to", "silo", "--undo-window", "30d"), "0 to 7 days"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(
    shell: Shell, company: TenantUnderTest, arguments: tuple[str, ...], part: str
) -> None:
    said = shell("tenant", "move", company.slug, *arguments)
    assert said.code == 2
    assert part in said.error


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("--to", "pool"), "lives in a pool on alpha already"),
        (("--to", "pool", "--database", "pool_1"), "lives in pool_1 already"),
        (("--to", "silo", "--server", "alpha"), "takes no silo tenants"),
        (("--cancel",), "no move of"),
        (("--back",), "no home that"),
        (("--settle", "--yes"), "no move of"),
    ],
)
def test_what_cannot_be_is_refused_in_words(
    shell: Shell, company: TenantUnderTest, arguments: tuple[str, ...], part: str
) -> None:
    said = shell("tenant", "move", company.slug, *arguments)
    assert said.code == 1
    assert part in said.error
    assert shell("tenant", "show", company.slug, "--json").json["status"] == "active"
