"""`copyhold staff …` and `copyhold audit …`."""

from __future__ import annotations

from uuid import uuid4

import pytest
from sqlalchemy import text

from control_plane.registry.engine import transaction
from tests.cli.shell import Shell
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest


@pytest.fixture
def address() -> str:
    """An address that nobody has."""
    return f"s{uuid4().hex[:10]}@ourcompany.example"


def test_the_token_of_a_new_member_of_staff_opens_until_they_go(
    shell: Shell, platform: PlatformUnderTest, address: str
) -> None:
    made = shell("staff", "add", address, "--role", "ops", "--json").json
    assert made.keys() == {"id", "email", "role", "token"}
    assert (made["email"], made["role"]) == (address, "ops")
    desk = platform.client(f"localhost:{platform.port}", made["token"])
    assert desk.get("/admin/me").json()["email"] == address
    listed = shell("staff", "list", "--json").json
    assert {tuple(sorted(row)) for row in listed} == {("created_at", "email", "id", "role")}
    assert address in {row["email"] for row in listed}
    assert shell("staff", "remove", address.upper()).code == 0
    assert desk.get("/admin/me").status_code == 401
    gone = shell("staff", "remove", address)
    assert (gone.code, gone.error) == (1, f"there is no member of staff with the address {address!r}")


def test_the_token_alone_is_what_is_printed(shell: Shell, address: str) -> None:
    said = shell("staff", "add", address)
    assert said.code == 0
    assert said.out.startswith("chs_")
    assert len(said.out.splitlines()) == 1
    assert address in shell("staff", "list").out


def test_a_second_member_of_that_address_is_refused(shell: Shell, address: str) -> None:
    assert shell("staff", "add", address).code == 0
    said = shell("staff", "add", address, "--role", "admin")
    assert (said.code, said.error) == (1, f"there is a member of staff with the address {address!r}")


def test_bad_input_is_a_usage_error(shell: Shell) -> None:
    said = shell("staff", "add", "not an address")
    assert said.code == 2
    assert "that is not an e-mail address" in said.error
    assert shell("staff", "add", "a@b.example", "--role", "king").code == 2
    assert shell("staff", "add").code == 2


def test_the_audit_log_is_shown_newest_first(shell: Shell, silo_tenant: TenantUnderTest) -> None:
    assert shell("key", "create", silo_tenant.slug, "--name", "audited").code == 0
    entries = shell("audit", "list", "--tenant", silo_tenant.slug, "--limit", "3", "--json").json
    assert len(entries) == 3
    assert entries[0].keys() == {"id", "at", "actor", "action", "subject", "tenant_id", "facts"}
    assert (entries[0]["action"], entries[0]["subject"]) == ("key.create", "audited")
    assert entries[0]["actor"].startswith("cli:")
    assert {entry["tenant_id"] for entry in entries} == {str(silo_tenant.id)}
    assert [entry["at"] for entry in entries] == sorted((entry["at"] for entry in entries), reverse=True)
    assert "audited" in shell("audit", "list").out


def test_the_audit_log_of_nobody_is_refused(shell: Shell) -> None:
    said = shell("audit", "list", "--tenant", "nobody-here")
    assert (said.code, said.error) == (1, "there is no tenant 'nobody-here'")
    assert shell("audit", "list", "--limit", "0").code == 2


def test_a_roll_of_another_version_is_told_in_words(own_shell: Shell, own_platform: PlatformUnderTest) -> None:
    with transaction(own_platform.engine) as session:
        session.execute(text("ALTER TABLE staff RENAME COLUMN role TO was_role"))
    try:
        said = own_shell("staff", "list")
    finally:
        with transaction(own_platform.engine) as session:
            session.execute(text("ALTER TABLE staff RENAME COLUMN was_role TO role"))
    assert (said.code, "the control database is of another version" in said.error) == (1, True)
