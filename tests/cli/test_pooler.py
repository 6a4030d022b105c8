"""`copyhold pooler …`."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from cli.commands import pooler as commands
from provisioning.pooler.apply import Pooler, PoolerDownError
from provisioning.pooler.render import FILES
from tests.cli.shell import Shell
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest

POOL = {"alias", "pool_size", "clients_active", "clients_waiting", "servers_active", "servers_idle", "longest_wait_s"}


@pytest.fixture
def drifted(own_platform: PlatformUnderTest, own_shell: Shell) -> Iterator[PlatformUnderTest]:
    """Somebody added an alias by hand, and had the pooler read it."""
    file = own_platform.settings.pooler_dir / "databases.ini"
    with file.open("a") as databases:
        databases.write("ghost = host=/nowhere dbname=ghost\n")
    settings = own_platform.settings
    with psycopg.connect(
        host=settings.pooler_host, port=settings.pooler_port, user="pgbouncer", dbname="pgbouncer", autocommit=True
    ) as console:
        console.execute("RELOAD")
    yield own_platform
    own_shell("pooler", "apply")


def test_without_drift_there_is_nothing_to_change(own_shell: Shell) -> None:
    assert own_shell("pooler", "diff").out == "roll, files and running pooler agree\n"
    assert own_shell("pooler", "diff", "--json").json == {"drift": False, "files": {}, "missing": [], "extra": []}
    assert own_shell("pooler", "apply").out == "nothing to change\n"
    assert own_shell("pooler", "apply", "--json").json == {"changed": False}


@pytest.mark.usefixtures("drifted")
def test_drift_is_shown_and_mended(own_shell: Shell) -> None:
    said = own_shell("pooler", "diff")
    assert said.code == 1
    assert "-ghost = host=/nowhere dbname=ghost" in said.out
    assert "the running pooler has ghost, which is not on the roll" in said.out
    assert own_shell("pooler", "apply").out == "applied\n"
    assert own_shell("pooler", "diff").code == 0
    newest = own_shell("audit", "list", "--limit", "1", "--json").json[0]
    assert newest["action"] == "pooler.apply"


@pytest.mark.usefixtures("drifted")
def test_drift_as_json_exits_1_too(own_shell: Shell) -> None:
    said = own_shell("pooler", "diff", "--json")
    assert said.code == 1
    assert '"extra": [\n    "ghost"\n  ]' in said.out


def test_the_files_are_rendered_and_nothing_is_changed(own_shell: Shell, own_platform: PlatformUnderTest) -> None:
    files = own_shell("pooler", "render", "--json").json["files"]
    assert tuple(files) == FILES
    assert files["databases.ini"] == (own_platform.settings.pooler_dir / "databases.ini").read_text()
    assert "==> databases.ini <==" in own_shell("pooler", "render").out


def test_the_files_are_rendered_without_a_running_pooler(platform: PlatformUnderTest) -> None:
    elsewhere = Pooler(platform.settings.model_copy(update={"pooler_port": 6999}), platform.engine)
    with pytest.raises(PoolerDownError):
        elsewhere.version()
    assert "pool_1" in commands.rendered(elsewhere)["databases.ini"]


def test_every_alias_is_shown_with_its_pool(shell: Shell, silo_tenant: TenantUnderTest) -> None:
    pools = shell("pooler", "status", "--json").json
    assert all(pool.keys() == POOL for pool in pools)
    assert {"pool_1", "bridge_1", f"silo_{silo_tenant.id.hex}"} <= {pool["alias"] for pool in pools}
    assert all(pool["pool_size"] >= 1 for pool in pools)
    assert "pool_1" in shell("pooler", "status").out
