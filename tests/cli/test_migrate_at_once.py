"""`copyhold migrate up` told twice to stop: it ends at once, and its run is gone on with like a killed one's."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli.shell import Shell
from tests.platform_under_test import PlatformUnderTest
from tests.waiting import until

pytestmark = pytest.mark.slow

WAITS = "SELECT FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"


def newest_run(shell: Shell) -> dict[str, Any]:
    """As history tells it."""
    runs: list[dict[str, Any]] = shell("migrate", "history", "--limit", "1", "--json").json
    return runs[0]


def test_a_second_ctrl_c_ends_the_command_at_once(own_shell: Shell, own_platform: PlatformUnderTest) -> None:
    tenant = own_platform.tenant("bridge")
    assert own_shell("migrate", "down", "--to", "0001", "--tenant", tenant.slug, "--yes").code == 0
    with own_platform.home_of(tenant) as home, home.transaction():
        home.execute("LOCK TABLE conversations IN ACCESS SHARE MODE")
        running = own_shell.start("migrate", "up", "--tenant", tenant.slug)
        until(lambda: home.execute(WAITS).fetchone() is not None, what="the migration waits for the table")
        running.interrupt()
        until(lambda: "again: stop at once" in running.heard(), what="the command says how to stop it at once")
        running.interrupt()
        said = running.ended()
        assert (said.code, "Traceback" in said.err) == (130, False), said.err
        assert tenant.route.revision == "0001"
        until(lambda: newest_run(own_shell)["state"] != "running", what="the run is known to have ended")
        run = newest_run(own_shell)
        assert (run["state"], run["targets"]) == ("interrupted", {"planned": 1})
        assert run["reason"] == "its process ended in the midst of it"
    assert own_shell("migrate", "resume", run["id"]).code == 0
    assert tenant.route.revision == "0002"
    ended = newest_run(own_shell)
    assert (ended["id"], ended["state"], ended["targets"]) == (run["id"], "done", {"done": 1})
