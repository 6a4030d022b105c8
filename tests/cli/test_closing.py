"""`copyhold tenant close`, `export` and `exports`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from cli.durations import parse_duration
from control_plane.domain.errors import UsageError
from control_plane.domain.tenant import Model
from provisioning.exports import manifest
from tests.cli.shell import Shell
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest
from tests.provisioning.erased import MODELS, left_of, place_of, refused, tombstone, with_things
from tests.waiting import until

EXPORT = {"id", "state", "path", "rows", "bytes", "sha256", "error", "actor", "created_at", "ended_at"}


@pytest.fixture
def company(platform: PlatformUnderTest) -> TenantUnderTest:
    """A tenant to be closed."""
    return platform.tenant("pool")


def test_a_tenant_is_closed_and_had_back(shell: Shell, company: TenantUnderTest) -> None:
    said = shell("tenant", "close", company.slug, "--grace", "12h")
    assert said.code == 0
    assert f"{company.slug} is closed, and erased at " in said.out
    assert f"copyhold tenant close {company.slug} --undo" in said.out
    until(lambda: refused(company) == "tenant_closed", what="it is refused")
    shown = shell("tenant", "show", company.slug, "--json").json
    assert (shown["status"], shown["closed_at"]) == ("closing", None)
    assert shown["closes_at"]
    assert "erased at" in shell("tenant", "show", company.slug).out
    assert shell("tenant", "close", company.slug, "--undo").out.endswith(f"{company.slug} is active\n")
    until(lambda: refused(company) is None, what="it is served")


@pytest.mark.slow
@MODELS
def test_a_tenant_is_erased_at_once_when_that_is_meant(shell: Shell, platform: PlatformUnderTest, model: Model) -> None:
    tenant = with_things(platform, model)
    place = place_of(tenant)
    said = shell("tenant", "close", tenant.slug, "--now", "--yes")
    assert said.code == 0
    steps = ("close fence", "export last", "withdraw", "erase home", "strike off")
    assert [step for step in steps if step not in said.out] == []
    assert f"{tenant.slug} is erased; its slug stays taken\n" in said.out
    (last,) = shell("tenant", "exports", tenant.slug, "--json").json
    assert f"its last export: {last['path']}\n" in said.out
    assert manifest.verify(Path(last["path"])).rows == last["rows"]
    assert left_of(platform, tenant.id, model, place) == tombstone(model)
    shown = shell("tenant", "show", tenant.slug, "--json").json
    assert (shown["status"], shown["name"], shown["home"], shown["keys"]) == ("closed", tenant.slug, None, 0)
    again = shell("tenant", "close", tenant.slug)
    assert (again.code, again.error) == (1, f"{tenant.slug!r} is closed already")
    back = shell("tenant", "close", tenant.slug, "--undo")
    assert (back.code, back.error) == (1, "a tenant that is closed cannot be reopened")
    nothing = shell("tenant", "export", tenant.slug)
    assert (nothing.code, nothing.error) == (1, f"{tenant.slug!r} has nothing to export: it is closed")


def test_without_a_last_export_none_is_written(shell: Shell, company: TenantUnderTest) -> None:
    shown = shell("tenant", "close", company.slug, "--now", "--yes", "--no-export", "--json").json
    assert shown["status"] == "closed"
    assert shell("tenant", "exports", company.slug, "--json").json == []
    assert shell("tenant", "exports", company.slug).err == "no exports\n"


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("--now",), "say --yes as well if that is meant"),
        (("--now", "--yes", "--grace", "1d"), "--now has no grace"),
        (("--grace", "0s"), "say so with --now --yes"),
        (("--grace", "soon"), "'soon' is no duration: write a number and s, m, h, d or w, as in 30d"),
        (("--grace", "-1d"), "'-1d' is no duration"),
        (("--grace", "3651d"), "A grace is 0 to 3650 days."),
        (("--grace", "999999999w"), "is too long"),
        (("--undo", "--now"), "--undo goes with no other choice"),
        (("--undo", "--grace", "1d"), "--undo goes with no other choice"),
        (("--undo", "--no-export"), "--undo goes with no other choice"),
    ],
)
def test_bad_choices_are_usage_errors_and_close_nothing(
    shell: Shell, pool_tenant: TenantUnderTest, arguments: tuple[str, ...], part: str
) -> None:
    said = shell("tenant", "close", pool_tenant.slug, *arguments)
    assert said.code == 2
    assert part in said.error
    assert shell("tenant", "show", pool_tenant.slug, "--json").json["status"] == "active"


@pytest.mark.parametrize("command", ["close", "export", "exports"])
def test_an_unknown_tenant_is_named(shell: Shell, command: str) -> None:
    said = shell("tenant", command, "nobody-here")
    assert (said.code, said.error) == (1, "there is no tenant 'nobody-here'")


def test_a_tenant_is_exported_listed_and_verified(shell: Shell, company: TenantUnderTest) -> None:
    made = shell("tenant", "export", company.slug, "--json").json
    assert made.keys() == EXPORT
    assert (made["state"], made["error"]) == ("done", None)
    assert shell("tenant", "exports", company.slug, "--json").json == [made]
    assert str(made["path"]) in shell("tenant", "exports", company.slug).out
    verified = shell("tenant", "export", "--verify", made["path"], "--json").json
    assert (verified["sha256"], verified["rows"], verified["tenant"]) == (made["sha256"], made["rows"], company.slug)
    assert shell("tenant", "export", "--verify", made["path"]).out.endswith("it is whole\n")
    (Path(made["path"]) / "users.jsonl").write_text("{}\n")
    said = shell("tenant", "export", "--verify", made["path"])
    assert said.code == 1
    assert "users.jsonl has been changed" in said.error


def test_an_export_goes_where_it_is_wanted(shell: Shell, company: TenantUnderTest) -> None:
    folder = shell.data / "handover"  # type: ignore[operator]
    folder.mkdir()
    owner = shell.data.stat()  # type: ignore[union-attr]
    os.chown(folder, owner.st_uid, owner.st_gid)
    said = shell("tenant", "export", company.slug, "--to", str(folder))
    assert said.code == 0
    (written,) = folder.iterdir()
    assert f"folder    {written}" in said.out
    manifest.verify(written)


def test_an_export_that_fails_says_why(shell: Shell, company: TenantUnderTest) -> None:
    said = shell("tenant", "export", company.slug, "--to", "/nonexistent")
    how_to_go_on = "repeat the command once that is put right"
    assert (said.code, said.error) == (1, f"there is no folder /nonexistent; {how_to_go_on}")
    (found,) = shell("tenant", "exports", company.slug, "--json").json
    assert (found["state"], found["error"]) == ("failed", "there is no folder /nonexistent")


def test_without_waiting_it_says_how_to_look(shell: Shell, company: TenantUnderTest) -> None:
    said = shell("tenant", "export", company.slug, "--no-wait")
    assert said.code == 0
    assert f"copyhold tenant exports {company.slug}" in said.err

    def done() -> bool:
        return [row["state"] for row in shell("tenant", "exports", company.slug, "--json").json] == ["done"]

    until(done, what="it is written")


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        ((), 2, "say which tenant, or --verify DIR"),
        (("somebody", "--verify", "/tmp"), 2, "--verify takes an export's folder and nothing else"),
        (("--verify", "/tmp", "--to", "/tmp"), 2, "--verify takes an export's folder and nothing else"),
        (("--verify", "/nonexistent"), 2, "there is no export in /nonexistent"),
    ],
)
def test_bad_words_to_export_are_usage_errors(shell: Shell, arguments: Any, code: int, part: str) -> None:
    said = shell("tenant", "export", *arguments)
    assert said.code == code
    assert part in said.error


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("2H", 7200), ("30d", 2_592_000), ("1w", 604800)]
)
def test_durations(text: str, seconds: int) -> None:
    assert parse_duration(text).total_seconds() == seconds


@pytest.mark.parametrize("text", ["", "d", "1", "1.5h", "1y", "1d2h", "١d", "9" * 12 + "d"])
def test_what_is_no_duration_is_named(text: str) -> None:
    with pytest.raises(UsageError):
        parse_duration(text)
