"""`copyhold migrate up` and old processes: what a contract would take away from one that runs is not touched."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

import migrations
from control_plane.registry import processes
from control_plane.registry.engine import transaction
from control_plane.routing.announcing import Announcer
from control_plane.version import code_version
from migrations.fleet import gate
from tenant_app.inbox import Inbox
from tests.cli.shell import Shell
from tests.folders import new_folder
from tests.forking import Said
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest
from tests.waiting import until

pytestmark = pytest.mark.slow

APP = "tests.cli.test_migrate_gate:next_app"


def __getattr__(name: str) -> Inbox:
    """`next_app`: the app of a version whose revisions are in a folder that a test names."""
    if name != APP.partition(":")[2]:
        raise AttributeError(name)
    return Inbox(migrations=os.environ["CHAIN_UNDER_TEST"])


@pytest.fixture
def contracting(own_platform: PlatformUnderTest) -> Iterator[dict[str, str]]:
    """The variables of a version whose 0002 is no use to processes that know 0001 alone."""
    folder = new_folder("ch-chain-")
    shutil.copytree(Path(migrations.__path__[0]) / "tenant", folder, dirs_exist_ok=True)
    folder.chmod(0o755)  # for the platform's user, whom the command becomes
    (newest,) = (folder / "versions").glob("0002*.py")
    newest.write_text(newest.read_text().replace("expands = True", "expands = False"))
    yield {"COPYHOLD_TENANT_APP": APP, "CHAIN_UNDER_TEST": str(folder)}
    shutil.rmtree(folder)
    with transaction(own_platform.engine) as session:
        gate.publish(session, own_platform.estate.chain)


@pytest.fixture
def behind(own_platform: PlatformUnderTest, own_shell: Shell) -> TenantUnderTest:
    """A tenant at 0001."""
    tenant = own_platform.tenant("bridge")
    assert own_shell("migrate", "down", "--to", "0001", "--tenant", tenant.slug, "--yes").code == 0
    assert tenant.route.revision == "0001"
    return tenant


@pytest.fixture
def old(own_platform: PlatformUnderTest) -> Iterator[Announcer]:
    """A process that knows 0001 alone, and says that it lives."""
    announcer = Announcer(own_platform.engine, "api", {"0001"})
    announcer.start()

    def announced() -> bool:
        with transaction(own_platform.engine) as session:
            return announcer.process.id in {process.id for process in processes.living(session)}

    until(announced, what="it is announced")
    yield announcer
    announcer.stop()


def table(tenant: TenantUnderTest) -> set[str]:
    """The columns of its conversations."""
    with tenant.platform.home_of(tenant) as home:
        query = "SELECT attname FROM pg_attribute WHERE attrelid = 'conversations'::regclass AND attnum > 0"
        return {str(name) for (name,) in home.execute(query)}


def runs(shell: Shell) -> list[str]:
    return [run["id"] for run in shell("migrate", "history", "--json").json]


def test_a_contract_waits_until_nobody_needs_the_old_shape(
    own_shell: Shell, behind: TenantUnderTest, old: Announcer, contracting: dict[str, str]
) -> None:
    def migrate(*arguments: str) -> Said:
        return own_shell.start("migrate", *arguments, "--tenant", behind.slug, variables=contracting).ended()

    named = f"api {socket.gethostname()}/{os.getpid()} ({code_version()}), which knows 0001"
    before = table(behind), runs(own_shell)
    refused = migrate("up")
    assert refused.code == 1
    assert refused.error.startswith(f"homes at 0002 are not served by a running process: {named}. Put a version")
    assert (refused.out, behind.route.revision) == ("", "0001")
    assert (table(behind), runs(own_shell)) == before, "it was touched"
    assert f"in the way: {named}\n" in migrate("plan").out
    assert migrate("plan", "--json").json["blocked_by"] != []
    old.stop()
    assert "in the way" not in migrate("plan").out
    done = migrate("up", "--no-check")
    assert (done.code, behind.route.revision) == (0, "0002"), done.err
    assert "last_message_at" in table(behind)


def test_what_expands_waits_for_nobody(own_shell: Shell, behind: TenantUnderTest, old: Announcer) -> None:
    assert own_shell("migrate", "up", "--tenant", behind.slug, "--no-check").code == 0
    assert behind.route.revision == "0002"
