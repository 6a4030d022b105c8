"""`copyhold pooler …`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from sqlalchemy import text

from cli.commands import pooler as commands
from control_plane.domain.tenant import Model
from control_plane.registry import servers
from control_plane.registry.engine import transaction
from provisioning.pooler.apply import Pooler
from provisioning.pooler.errors import PoolerDownError
from provisioning.pooler.render import FILES
from tests.cli.shell import Shell
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest

POOL = {
    *("alias", "server", "server_subscribed", "pool_size"),
    *("clients_active", "clients_waiting", "servers_active", "servers_idle", "longest_wait_s"),
}


@pytest.fixture
def left_behind(own_platform: PlatformUnderTest, own_shell: Shell) -> Iterator[None]:
    """The pooler serves a database that has gone from the roll."""
    with transaction(own_platform.engine) as session:
        ghost = servers.ensure_database(session, "alpha", "ghost", Model.BRIDGE).id
    assert own_shell("pooler", "apply").out == "applied\n"
    with transaction(own_platform.engine) as session:
        session.execute(text("DELETE FROM databases WHERE id = :id"), {"id": ghost})
    yield
    own_shell("pooler", "apply")


def test_without_drift_there_is_nothing_to_change(own_shell: Shell) -> None:
    assert own_shell("pooler", "diff").out == "roll, files and running pooler agree\n"
    assert own_shell("pooler", "diff", "--json").json == {
        "drift": False,
        "files": {},
        "missing": [],
        "extra": [],
        "settings": [],
    }
    assert own_shell("pooler", "apply").out == "nothing to change\n"
    assert own_shell("pooler", "apply", "--json").json == {"changed": False}


@pytest.mark.usefixtures("left_behind")
def test_drift_is_shown_and_mended(own_shell: Shell) -> None:
    said = own_shell("pooler", "diff")
    assert said.code == 1
    assert re.search("^-ghost = ", said.out, re.MULTILINE)
    assert "the running pooler has ghost, which is not on the roll" in said.out
    as_json = own_shell("pooler", "diff", "--json")
    assert as_json.code == 1
    drift = json.loads(as_json.out)
    assert (drift["drift"], drift["missing"], drift["extra"]) == (True, [], ["ghost"])
    assert "-ghost = " in drift["files"]["databases.ini"]
    assert own_shell("pooler", "apply").out == "applied\n"
    assert own_shell("pooler", "diff").code == 0
    newest = own_shell("audit", "list", "--limit", "1", "--json").json[0]
    assert newest["action"] == "pooler.apply"


def test_an_edit_by_hand_is_shown_and_overwritten(own_shell: Shell, own_platform: PlatformUnderTest) -> None:
    with (own_platform.settings.pooler_dir / "databases.ini").open("a") as file:
        file.write("; by hand\n")
    said = own_shell("pooler", "diff")
    assert (said.code, said.out.splitlines()[-1]) == (1, "-; by hand")
    assert own_shell("pooler", "apply").out == "applied\n"
    assert own_shell("pooler", "diff").code == 0


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
    home = silo_tenant.route.home
    assert home is not None
    assert {"pool_1", "bridge_1", home.alias} <= {pool["alias"] for pool in pools}
    assert all(pool["pool_size"] >= 1 for pool in pools)
    said = shell("pooler", "status").out
    assert "pool_1" in said
    subscribed = next(pool["server_subscribed"] for pool in pools if pool["server"] == "alpha")
    assert f"alpha: {subscribed:.0%} of its connections are subscribed" in said
