"""`copyhold tenant retry`, what `tenant show` says of the newest workflow, and `copyhold server warm`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.cli.shell import Shell
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest
from tests.provisioning import stock
from tests.waiting import until


@contextmanager
def without_its_fence(tenant: TenantUnderTest) -> Iterator[None]:
    """The home has no fence for the tenant until the block ends."""
    with tenant.platform.home_of(tenant) as home:
        fence = home.execute("DELETE FROM tenancy.fences WHERE tenant_id = %s RETURNING *", [tenant.id]).fetchone()
        assert fence is not None
        try:
            yield
        finally:
            values = ", ".join(["%s"] * len(fence))
            home.execute(f"INSERT INTO tenancy.fences VALUES ({values})".encode(), fence)


def test_a_failure_is_shown_and_gone_on_with(shell: Shell, platform: PlatformUnderTest) -> None:
    company = platform.tenant("pool")
    with without_its_fence(company):
        said = shell("tenant", "suspend", company.slug)
    why = "The home has no fence for this tenant."
    assert (said.code, said.error) == (1, f"{why}; once that is put right: copyhold tenant retry {company.slug}")
    shown = shell("tenant", "show", company.slug, "--json").json["workflow"]
    assert (shown["kind"], shown["state"], shown["error"]) == ("suspend", "failed", why)
    assert f"suspend failed: {why}" in shell("tenant", "show", company.slug).out
    again = shell("tenant", "retry", company.slug, "--json").json
    assert (again["status"], again["workflow"]["state"], again["workflow"]["error"]) == ("suspended", "done", None)


def test_nothing_is_gone_on_with_where_nothing_failed(shell: Shell, pool_tenant: TenantUnderTest) -> None:
    until(
        lambda: shell("tenant", "show", pool_tenant.slug, "--json").json["workflow"]["state"] == "done",
        what="its making is on record as done",
    )
    said = shell("tenant", "retry", pool_tenant.slug)
    assert said.code == 1
    assert said.error == f"{pool_tenant.slug!r} has nothing to retry: its provision is done"


def test_a_server_keeps_silos_ready_until_it_is_told_not_to(own_shell: Shell, own_platform: PlatformUnderTest) -> None:
    assert own_shell("server", "warm", "beta", "1").out == "beta keeps 1 silo ready\n"
    assert own_shell("server", "warm", "beta", "1").out == "beta keeps 1 silo ready already\n"
    stock.settled(own_platform)
    shown = own_shell("server", "show", "beta", "--json").json
    assert (shown["warm"], shown["ready"]) == (1, 1)
    assert [row["homes"] for row in shown["databases"] if row["state"] == "warm"] == [0]
    assert "1 of 1 ready" in own_shell("server", "show", "beta").out
    assert own_shell("server", "warm", "beta", "0").code == 0
    stock.settled(own_platform)
    assert own_shell("server", "show", "beta", "--json").json["ready"] == 0


def test_a_server_without_silos_keeps_none_ready(shell: Shell) -> None:
    said = shell("server", "warm", "alpha", "1")
    assert (said.code, said.error) == (2, "alpha takes no silos, and keeps none ready")
    assert shell("server", "warm", "nowhere", "1").error == "there is no server 'nowhere'"
