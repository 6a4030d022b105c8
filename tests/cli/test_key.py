"""`copyhold key …`."""

from __future__ import annotations

import pytest

from tests.cli.shell import Shell
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest
from tests.waiting import until

LISTED = {"id", "tenant_id", "name", "role", "scopes", "created_at", "revoked_at"}


def test_a_key_alone_is_what_is_printed(shell: Shell, pool_tenant: TenantUnderTest) -> None:
    said = shell("key", "create", pool_tenant.slug)
    assert said.code == 0
    assert said.out.startswith(f"ch_{pool_tenant.id.hex}_")
    assert len(said.out.splitlines()) == 1
    assert "shown once" in said.err


def test_a_key_opens_until_it_is_revoked(
    shell: Shell, platform: PlatformUnderTest, pool_tenant: TenantUnderTest
) -> None:
    command = ("key", "create", str(pool_tenant.id), "--role", "admin", "--name", "importer", "--scope", "read")
    made = shell(*command, "--json").json
    assert made.keys() == LISTED | {"key"}
    assert (made["name"], made["role"], made["scopes"]) == ("importer", "admin", ["read"])
    http = platform.client(pool_tenant.host, made["key"])
    until(lambda: http.get("/api/me").status_code == 200, what="the API knows the key")
    revoked = shell("key", "revoke", made["id"], "--json").json
    assert revoked["revoked_at"] is not None
    until(lambda: http.get("/api/me").status_code == 401, what="the API refuses the key")
    assert shell("key", "revoke", made["id"]).out == "importer is revoked\n"
    assert shell("key", "revoke", made["id"], "--json").json == revoked


def test_keys_are_listed_without_their_secrets(shell: Shell, pool_tenant: TenantUnderTest) -> None:
    key = shell("key", "create", pool_tenant.slug, "--name", "listed", "--json").json
    listed = shell("key", "list", pool_tenant.slug, "--json")
    assert {tuple(sorted(row)) for row in listed.json} == {tuple(sorted(LISTED))}
    assert key["id"] in {row["id"] for row in listed.json}
    secret = key["key"].rpartition("_")[2]
    assert secret not in listed.out + shell("key", "list", pool_tenant.slug).out


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (("create", "nobody-here"), 1, "there is no tenant 'nobody-here'"),
        (("list", "nobody-here"), 1, "there is no tenant 'nobody-here'"),
        (("revoke", "01900000-0000-7000-8000-000000000000"), 1, "there is no such key"),
        (("revoke", "ch_something"), 2, "a key is revoked by its id"),
    ],
)
def test_what_is_not_there_is_named(shell: Shell, arguments: tuple[str, ...], code: int, part: str) -> None:
    said = shell("key", *arguments)
    assert said.code == code
    assert part in said.error


def test_an_unknown_scope_or_role_is_a_usage_error(shell: Shell, pool_tenant: TenantUnderTest) -> None:
    said = shell("key", "create", pool_tenant.slug, "--scope", "fly")
    assert (said.code, said.error) == (2, "there is no scope 'fly'; choose from read, write")
    said = shell("key", "create", pool_tenant.slug, "--role", "king")
    assert said.code == 2
    assert "'king' is not one of 'member', 'admin', 'owner'" in said.err
