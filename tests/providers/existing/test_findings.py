"""What is said of a server, from what was found out about it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from provisioning.providers.existing.address import Address
from provisioning.providers.existing.facts import Facts, RoleFacts
from provisioning.providers.existing.findings import Finding, Level, findings, refusals, remedy_sql

GROUPS = frozenset({"copyhold_owner", "copyhold_migrator", "pg_signal_backend"})
ADMIN = RoleFacts(login=True, createdb=True, createrole=True, member_of=GROUPS)
OF_OWNER = frozenset({"copyhold_owner"})
ROLES = {
    "keeper": ADMIN,
    "copyhold_owner": RoleFacts(),
    "copyhold_migrator": RoleFacts(login=True, bypassrls=True, member_of=OF_OWNER),
    "copyhold_mover": RoleFacts(login=True, bypassrls=True, replication=True, member_of=OF_OWNER),
    "copyhold_backup": RoleFacts(login=True, bypassrls=True, member_of=frozenset({"pg_read_all_data"})),
}
SETTINGS = {
    "server_version_num": "150020",
    "server_version": "15.20",
    "wal_level": "logical",
    "max_slot_wal_keep_size": "1024",
    "max_connections": "100",
    "superuser_reserved_connections": "3",
    "max_replication_slots": "10",
    "max_wal_senders": "10",
    "password_encryption": "scram-sha-256",
    "fsync": "on",
    "full_page_writes": "on",
}
GOOD = Facts(
    address=Address(host="db", port=5432, admin="keeper"), version=150020, settings=SETTINGS, roles=ROLES, locale="C"
)
NEWER: dict[str, Any] = {
    "version": 160014,
    "settings": SETTINGS | {"server_version_num": "160016", "server_version": "16.16"},
}
VERIFIERS = {name: "SCRAM-SHA-256$x" for name in ROLES if name.startswith("copyhold_")}


def judged(**changes: Any) -> tuple[Finding, ...]:
    return findings(replace(GOOD, **changes), VERIFIERS)


def role(name: str, **changes: Any) -> dict[str, RoleFacts]:
    return {**ROLES, name: replace(ROLES[name], **changes)}


def setting(name: str, value: str) -> dict[str, str]:
    return {**SETTINGS, name: value}


def test_nothing_is_said_against_a_server_that_is_as_it_must_be() -> None:
    assert {each.level for each in judged()} == {Level.OK}
    assert remedy_sql(judged()) == ""


@pytest.mark.parametrize(
    ("changes", "what", "sql"),
    [
        ({"roles": role("keeper", createdb=False)}, "administrator", 'ALTER ROLE "keeper" CREATEDB;'),
        ({**NEWER, "roles": role("keeper", member_of=GROUPS - OF_OWNER)}, "membership", "GRANT copyhold_owner"),
        ({"roles": role("copyhold_migrator", bypassrls=False)}, "role", "ALTER ROLE copyhold_migrator BYPASSRLS;"),
        ({"roles": role("copyhold_mover", replication=False)}, "role", "ALTER ROLE copyhold_mover REPLICATION;"),
        ({"roles": role("copyhold_owner", superuser=True)}, "role", "ALTER ROLE copyhold_owner NOSUPERUSER;"),
        (
            {"refused": {"copyhold_mover": "password authentication failed for x"}},
            "password",
            "ALTER ROLE copyhold_mover",
        ),
        ({"refused": {"copyhold_mover": "no pg_hba.conf entry for x"}}, "rules", ""),
        ({"settings": setting("wal_level", "replica")}, "wal_level", "ALTER SYSTEM SET wal_level = 'logical';"),
        ({"settings": setting("fsync", "off")}, "fsync", "ALTER SYSTEM SET fsync = 'on';"),
        ({"settings": setting("max_connections", "30")}, "connections", "ALTER SYSTEM SET max_connections"),
        ({"standby": True}, "primary", ""),
        ({"encoding": "LATIN1"}, "encoding", ""),
        ({"version": 140010}, "version", ""),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_missing_is_an_error_with_its_sql(changes: dict[str, Any], what: str, sql: str) -> None:
    found = judged(**changes)
    assert [each.what for each in refusals(found)] == [what]
    assert sql in remedy_sql(found)
    assert all(each.sql or each.remedy for each in refusals(found))


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"open_databases": ("theirs",)}, "open_databases"),
        ({"settings": setting("max_slot_wal_keep_size", "-1")}, "max_slot_wal_keep_size"),
        ({"settings": setting("log_min_duration_statement", "0")}, "log_min_duration_statement"),
        ({"settings": setting("max_wal_senders", "2")}, "max_wal_senders"),
        ({"settings": setting("password_encryption", "md5")}, "password_encryption"),
        ({"replica_role": False}, "replica_role"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_will_be_wanting_is_a_warning_with_its_sql(changes: dict[str, Any], what: str) -> None:
    found = judged(**changes)
    assert [each.what for each in found if each.level is not Level.OK] == [what]
    assert not refusals(found)
    assert remedy_sql(found)


def test_what_the_administrator_can_do_is_not_asked_of_a_superuser() -> None:
    without = {name: facts for name, facts in ROLES.items() if name != "copyhold_owner"}
    found = judged(roles={**without, "keeper": replace(ADMIN, superuser=True)})
    assert (refusals(found), remedy_sql(found)) == ((), "")


def test_on_16_an_administrator_needs_the_attributes_that_it_gives() -> None:
    without = {name: facts for name, facts in ROLES.items() if name != "copyhold_migrator"}
    assert refusals(judged(**NEWER, roles=without))
    able = {**without, "keeper": replace(ADMIN, bypassrls=True, admin_of=GROUPS)}
    assert not refusals(judged(**NEWER, roles=able))
