"""`copyhold migrate …`, on a fleet that is one revision behind."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from control_plane.registry.engine import transaction
from tests.cli.shell import Shell
from tests.forking import Said
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest
from tests.waiting import until

pytestmark = pytest.mark.slow

STEP = {"chain", "server", "database", "schema", "from_revision", "to_revision"}
SUMMARY = {
    "event",
    "run_id",
    "to_revision",
    "state",
    "reason",
    "done",
    "failed",
    "not_started",
    "there_already",
    "ahead",
    "duration_ms",
}
RUN = {
    "id",
    "direction",
    "to_revision",
    "actor",
    "state",
    "reason",
    "code_version",
    "started_at",
    "ended_at",
    "targets",
}


@pytest.fixture(scope="module")
def broken(own_platform: PlatformUnderTest) -> TenantUnderTest:
    """A tenant in whose schema the next revision will fail: what it adds is there already."""
    tenant = own_platform.tenant("bridge")
    with own_platform.home_of(tenant) as home:
        home.execute("ALTER TABLE conversations ADD COLUMN last_message_at text")
    return tenant


def mend(tenant: TenantUnderTest) -> None:
    """Take away what is in the way."""
    with tenant.platform.home_of(tenant) as home:
        home.execute("ALTER TABLE conversations DROP COLUMN IF EXISTS last_message_at")


def events(said: Said) -> list[dict[str, Any]]:
    """What was streamed, a line an event."""
    return [json.loads(line) for line in said.out.splitlines()]


def schema_of(tenant: TenantUnderTest) -> str:
    """Where its tables are."""
    assert tenant.route.home is not None
    return tenant.route.home.schema


def test_the_fleet_is_brought_along_and_what_failed_is_told_and_taken_up_again(
    own_platform: PlatformUnderTest, own_shell: Shell, broken: TenantUnderTest
) -> None:
    healthy = own_platform.tenant("bridge")
    _is_behind(own_shell)
    _is_planned(own_shell)
    run_id = _fails_for_one(own_shell, broken)
    assert healthy.route.revision == "0002"
    assert broken.route.revision == "0001"
    _is_told_by_history(own_shell, run_id, broken)
    mend(broken)
    said = own_shell("migrate", "up")
    assert said.code == 0
    assert "migrating: 1 of 1" in said.out
    assert "1 done, 0 failed" in said.out
    assert broken.route.revision == "0002"
    status = own_shell("migrate", "status", "--json").json
    assert (status["behind"], status["ahead"]) == (0, [])
    assert status["new_homes"]["tenant"] == "0002"


def _is_behind(shell: Shell) -> None:
    status = shell("migrate", "status", "--json").json
    assert status.keys() == {"newest", "new_homes", "targets", "behind", "ahead"}
    assert (status["newest"]["tenant"], status["new_homes"]["tenant"]) == ("0002", "0001")
    assert status["behind"] >= 3
    of_pools = {"chain": "tenant", "model": "pool", "revision": "0001", "targets": 1, "state": "behind"}
    assert of_pools in status["targets"]
    assert "behind: `copyhold migrate up` brings them along" in shell("migrate", "status").out


def _is_planned(shell: Shell) -> None:
    plan = shell("migrate", "plan", "--json").json
    assert plan.keys() == {"steps", "blocked_by", "there_already", "ahead", "ways_back_lost"}
    assert {tuple(sorted(step)) for step in plan["steps"]} == {tuple(sorted(STEP | {"wave"}))}
    assert f"{len(plan['steps'])} targets to migrate" in shell("migrate", "plan").out
    assert shell("migrate", "plan", "--to", "0001", "--json").json["steps"] == []
    script = shell("migrate", "plan", "--sql").out
    assert "ALTER TABLE conversations ADD COLUMN last_message_at" in script
    assert script.count("BEGIN;") == script.count("COMMIT;") == 1
    assert shell("migrate", "plan", "--json").json == plan


def _fails_for_one(shell: Shell, broken: TenantUnderTest) -> str:
    said = shell("migrate", "up", "--waves", "100%", "--max-failures", "1", "--json")
    assert said.code == 1
    *told, summary = events(said)
    assert [event["event"] for event in told if event["event"] != "target"] == ["run", "wave", "wave_end"]
    outcomes = [event for event in told if event["event"] == "target"]
    assert all(outcome.keys() == STEP | {"event", "state", "error", "attempts", "duration_ms"} for outcome in outcomes)
    assert summary.keys() == SUMMARY
    assert (summary["done"], len(summary["failed"])) == (len(outcomes) - 1, 1)
    failed = summary["failed"][0]
    assert failed["schema"] == schema_of(broken)
    assert failed["error"] == 'column "last_message_at" of relation "conversations" already exists'
    return str(summary["run_id"])


def _is_told_by_history(shell: Shell, run_id: str, broken: TenantUnderTest) -> None:
    newest = shell("migrate", "history", "--limit", "1", "--json").json[0]
    assert newest.keys() == RUN
    assert (newest["id"], newest["state"], newest["targets"]["failed"]) == (run_id, "failed", 1)
    details = shell("migrate", "history", "--run", run_id, "--json").json
    assert [failure["schema"] for failure in details["failed"]] == [schema_of(broken)]
    assert "already exists" in shell("migrate", "history", "--run", run_id).out
    assert run_id in shell("migrate", "history").out


def test_a_fleet_that_is_there_has_nothing_to_do(shell: Shell) -> None:
    said = shell("migrate", "up")
    assert said.code == 0
    assert said.out.startswith("nothing to do: ")
    (summary,) = events(shell("migrate", "up", "--json"))
    assert (summary["event"], summary["run_id"], summary["done"], summary["failed"]) == ("summary", None, 0, [])
    assert shell("migrate", "plan", "--sql").out == "-- nothing to do\n"


def test_a_failure_is_told_to_a_person_on_standard_error(own_shell: Shell, own_platform: PlatformUnderTest) -> None:
    tenant = own_platform.tenant("bridge")
    with own_platform.home_of(tenant) as home:
        home.execute("UPDATE alembic_version SET version_num = '0001'")
    _record_revision(own_platform, tenant, "0001")
    said = own_shell("migrate", "up", "--tenant", tenant.slug)
    assert said.code == 1
    assert f"failed: alpha / bridge_1 / {schema_of(tenant)}: " in said.out
    assert f"alpha / bridge_1 / {schema_of(tenant)} stays at 0001: " in said.err
    assert "go on with: copyhold migrate resume" in said.err
    mend(tenant)
    assert own_shell("migrate", "resume").code == 0
    assert own_shell("migrate", "resume").code == 2


def test_taking_back_has_to_be_meant(own_shell: Shell, own_platform: PlatformUnderTest) -> None:
    tenant = own_platform.tenant("bridge")
    shown = own_shell("migrate", "down", "--to", "0001", "--tenant", tenant.slug)
    assert (shown.code, shown.err) == (0, "nothing was done; --yes takes these back\n")
    assert tenant.route.revision == "0002"
    assert own_shell("migrate", "down", "--to", "0001", "--tenant", tenant.slug, "--yes").code == 0
    assert tenant.route.revision == "0001"
    assert tenant.http.get("/api/conversations").status_code == 200
    assert own_shell("migrate", "up", "--tenant", tenant.slug, "--verify").code == 0
    assert tenant.route.revision == "0002"


def test_a_pool_is_migrated_by_the_name_of_a_tenant_in_it(own_shell: Shell, own_platform: PlatformUnderTest) -> None:
    tenant = own_platform.tenant("pool")
    for option in ("--tenant", "--canary"):
        assert own_shell("migrate", "up", "--no-check").code == 0
        assert own_shell("migrate", "down", "--to", "0001", "--tenant", "pool_1", "--yes").code == 0
        planned = own_shell("migrate", "plan", option, tenant.slug, "--json").json["steps"]
        assert [(each["database"], each["wave"]) for each in planned] == [("pool_1", 1)]
    assert own_shell("migrate", "up", "--tenant", tenant.slug, "--no-check").code == 0
    assert tenant.route.revision == "0002"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--tenant", "nobody"), "there is no tenant or database 'nobody' with a home"),
        (("--canary", "nobody"), "there is no tenant or database 'nobody' with a home"),
        (("--server", "nowhere"), "there is no server 'nowhere'"),
    ],
)
def test_a_fleet_of_nobody_is_a_typing_error(shell: Shell, options: tuple[str, ...], said: str) -> None:
    for verb in ("up", "plan"):
        answer = shell("migrate", verb, *options)
        assert (answer.code, answer.error) == (1, said)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--waves", "5%"), "the last wave has to be 100%"),
        (("--max-failures", "few"), "failures are counted like 3 or 10%"),
        (("--canary", "colour:red"), "a canary is a slug, a database, label:L or plan:P"),
        (("--enterprise", "never"), "enterprise silos go first, last or mixed"),
    ],
)
def test_choices_that_make_no_sense_are_usage_errors(shell: Shell, options: tuple[str, ...], said: str) -> None:
    answer = shell("migrate", "up", *options)
    assert answer.code == 2
    assert said in answer.err


def test_ctrl_c_finishes_what_is_in_flight_and_says_how_to_go_on(
    own_shell: Shell, own_platform: PlatformUnderTest
) -> None:
    tenant = own_platform.tenant("bridge")
    assert own_shell("migrate", "down", "--to", "0001", "--tenant", tenant.slug, "--yes").code == 0
    with own_platform.home_of(tenant) as home, home.transaction():
        home.execute("LOCK TABLE conversations IN ACCESS SHARE MODE")
        running = own_shell.start("migrate", "up", "--tenant", tenant.slug)
        waits = "SELECT FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"
        until(lambda: home.execute(waits).fetchone() is not None, what="the migration waits for the table")
        running.interrupt()
        until(lambda: "stopping" in running.heard(), what="the command says that it stops")
    said = running.ended()
    assert said.code == 130
    assert tenant.route.revision == "0002", "what was in flight is finished"


def _record_revision(platform: PlatformUnderTest, tenant: TenantUnderTest, revision: str) -> None:
    with transaction(platform.engine) as session:
        session.execute(
            text("UPDATE targets SET revision = :revision WHERE schema = :schema"),
            {"revision": revision, "schema": schema_of(tenant)},
        )


def test_a_target_ahead_of_this_version_is_left_alone_and_named(
    own_shell: Shell, own_platform: PlatformUnderTest
) -> None:
    tenant = own_platform.tenant("bridge")
    _record_revision(own_platform, tenant, "9999")
    try:
        assert [row["schema"] for row in own_shell("migrate", "status", "--json").json["ahead"]] == [schema_of(tenant)]
        assert f"{schema_of(tenant)} is at 9999" in own_shell("migrate", "status").out
        assert "1 target past that revision, left alone" in own_shell("migrate", "up").out
    finally:
        _record_revision(own_platform, tenant, "0002")


@pytest.mark.parametrize("command", ["plan", "up"])
def test_an_unknown_revision_is_a_usage_error_that_names_those_there_are(shell: Shell, command: str) -> None:
    said = shell("migrate", command, "--to", "7777")
    assert (said.code, said.error) == (2, "there is no revision '7777'; there are 0001, 0002")


def test_an_unknown_run_is_refused(shell: Shell) -> None:
    said = shell("migrate", "history", "--run", str(uuid4()))
    assert (said.code, said.error) == (1, "there is no such run")
    assert shell("migrate", "history", "--run", "yesterday").code == 2
