"""`copyhold migrate check`, on a fleet that is well and on one that is not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cli.shell import Shell
from tests.forking import Said
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest

pytestmark = pytest.mark.slow

FINDING = {"event", "server", "database", "schema", "kind", "object", "difference", "expected", "found"}
SUMMARY = {"event", "findings", "targets", "databases", "duration_ms"}


def events(said: Said) -> list[dict[str, Any]]:
    """What was streamed, a line an event."""
    return [json.loads(line) for line in said.out.splitlines()]


@pytest.fixture
def hurt(own_platform: PlatformUnderTest) -> Iterator[TenantUnderTest]:
    """A bridge tenant whose schema has a column of another type and an index less."""
    tenant = own_platform.tenant("bridge")
    harm = (
        "ALTER TABLE sessions ALTER COLUMN ended_at TYPE date",
        "DROP INDEX messages_tenant_id_author_id_idx",
    )
    cure = (
        "ALTER TABLE sessions ALTER COLUMN ended_at TYPE timestamptz",
        "CREATE INDEX messages_tenant_id_author_id_idx ON messages (tenant_id, author_id)",
    )
    with own_platform.home_of(tenant) as home:
        for statement in harm:
            home.execute(statement.encode())
        yield tenant
        for statement in cure:
            home.execute(statement.encode())


def place_of(tenant: TenantUnderTest) -> tuple[str, str]:
    """Its database and schema."""
    assert tenant.route.home is not None
    return tenant.route.home.database, tenant.route.home.schema


def test_a_fleet_that_is_well_ends_with_0(own_shell: Shell) -> None:
    said = own_shell("migrate", "check")
    assert said.code == 0, said.out
    assert "0 findings: looked at " in said.out.splitlines()[-1]
    (summary,) = events(own_shell("migrate", "check", "--json"))
    assert summary.keys() == SUMMARY
    assert (summary["event"], summary["findings"]) == ("checked", 0)
    assert summary["targets"] > summary["databases"] > 0


def test_a_person_is_told_what_differs_and_where(own_shell: Shell, hurt: TenantUnderTest) -> None:
    database, schema = place_of(hurt)
    said = own_shell("migrate", "check")
    assert said.code == 1
    assert said.err == ""
    lines = said.out.splitlines()
    start = lines.index("column sessions.ended_at: differs")
    assert lines[start : start + 4] == [
        "column sessions.ended_at: differs",
        "  expected  timestamp with time zone",
        "  found     date",
        f"  in alpha / {database} / {schema}",
    ]
    assert "index messages.messages_tenant_id_author_id_idx: missing" in lines
    assert lines[-1].startswith("2 findings: looked at ")


def test_a_program_is_told_a_finding_a_line(own_shell: Shell, hurt: TenantUnderTest) -> None:
    said = own_shell("migrate", "check", "--json")
    assert said.code == 1
    *found, summary = events(said)
    assert all(each.keys() == FINDING for each in found)
    assert summary["findings"] == len(found) == 2
    assert {(each["database"], each["schema"]) for each in found} == {place_of(hurt)}
    column, index = sorted(found, key=lambda each: str(each["kind"]))
    assert (column["object"], column["difference"], column["expected"], column["found"]) == (
        "sessions.ended_at",
        "differs",
        "timestamp with time zone",
        "date",
    )
    assert (index["object"], index["difference"], index["found"]) == (
        "messages.messages_tenant_id_author_id_idx",
        "missing",
        None,
    )


def test_one_tenant_or_one_server_can_be_looked_at_alone(own_shell: Shell, hurt: TenantUnderTest) -> None:
    well = hurt.platform.tenant("silo")
    for chosen, code, targets, databases in (
        (("--tenant", hurt.slug), 1, 2, 1),
        (("--tenant", str(hurt.id)), 1, 2, 1),
        (("--tenant", well.slug), 0, 2, 1),
        (("--tenant", well.slug, "--tenant", hurt.slug), 1, 4, 2),
        (("--tenant", well.slug, "--server", "alpha"), 0, 0, 0),
        (("--server", "beta"), 0, None, None),
    ):
        said = own_shell("migrate", "check", "--json", *chosen)
        assert said.code == code, chosen
        *_, summary = events(said)
        if targets is not None:
            assert (summary["targets"], summary["databases"]) == (targets, databases)


@pytest.mark.parametrize("chosen", [("--tenant", "nobody"), ("--server", "gamma")])
def test_whoever_is_not_there_is_named(shell: Shell, chosen: tuple[str, str]) -> None:
    said = shell("migrate", "check", *chosen)
    assert said.code == 1
    assert chosen[1] in said.error


def test_without_the_control_database_it_says_what_to_do(stopped: Shell) -> None:
    said = stopped("migrate", "check")
    assert said.code == 1
    assert "is the platform up?" in said.error
