"""An enterprise on an RDS instance of its own: from the shape to the last snapshot, and what goes wrong on the way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

from control_plane.domain.rds import MASTER
from control_plane.doors import opened
from control_plane.registry import warm, workflow_records
from control_plane.registry.engine import transaction
from control_plane.registry.tables import ServerRow, WorkflowRow
from control_plane.registry.workflows import REMOVE_SERVER
from control_plane.tenants import joining, retrying
from provisioning.doctor.examine import examine
from tests.forking import Running, Said
from tests.provisioning.lives import state_of, wait_until_done, wait_until_ended
from tests.provisioning.rds_house import INSTANCE, NAME, SECRET, SHAPE, RdsHouse, rds_house
from tests.provisioning.workers import workers_alone
from tests.waiting import until

pytestmark = pytest.mark.slow
SUBJECT = warm.subject_of(NAME)
SOME = ("--models", "silo", "--capacity", "1", "--label", "only-acme")
GIVEN_UP_WITHIN_S = 120
"""A call that AWS refuses for the moment: eight tries, with up to 52 s of pauses between them."""


@pytest.fixture(scope="module")
def made() -> Iterator[RdsHouse]:
    with rds_house() as house:
        yield house


@pytest.fixture
def house(made: RdsHouse) -> Iterator[RdsHouse]:
    """An empty AWS; afterwards nothing is on the roll."""
    made.begin_anew()
    yield made
    made.fake.refusals.clear()
    made.fake.settle()
    if NAME in on_the_roll(made):
        gone = made.command("server", "remove", NAME, "--yes", "--confirm", INSTANCE, "--no-snapshot")
        assert gone.code == 0, gone.err


def on_the_roll(house: RdsHouse) -> set[str]:
    with transaction(house.platform.engine) as session:
        return set(session.scalars(select(ServerRow.name)))


def shape_file(folder: Path, **changes: object) -> str:
    file = folder / "acme.json"
    file.write_text(json.dumps({**SHAPE, **changes}))
    return str(file)


def start(house: RdsHouse, folder: Path, *words: str) -> Running:
    shape = shape_file(folder)
    return house.command.start("server", "add", NAME, "--provider", "rds", "--shape", shape, *SOME, *words)


def add(house: RdsHouse, folder: Path, *words: str) -> Said:
    return start(house, folder, *words).ended()


def wish(house: RdsHouse) -> str:
    """Have a worker make it; the workflow's id."""
    with transaction(house.platform.engine) as session:
        server = joining.rds_server(
            house.platform.settings.rds, NAME, SHAPE, "", region="there", models=("silo",), capacity=1, connections=0
        )
        workflow = joining.join(session, house.platform.workflows, server, "tests")
    assert workflow is not None
    return workflow


def retry(house: RdsHouse, workflow: str) -> str:
    with transaction(house.platform.engine) as session:
        return retrying.retry_workflow(session, house.platform.workflows, workflow, "tests")


def test_an_enterprise_lives_on_an_instance_of_its_own(house: RdsHouse, tmp_path: Path) -> None:
    said = add(house, tmp_path, "--dry-run")
    assert said.code == 0, said.err
    assert (INSTANCE in said.out, SECRET in said.out, "nothing is in the way" in said.out) == (True, True, True)
    assert (house.fake.world.instances, on_the_roll(house)) == ({}, {"alpha", "beta"})

    taken = house.command("server", "add", "alpha", "--provider", "rds", "--shape", shape_file(tmp_path), "--dry-run")
    assert taken.error.startswith("there is another server alpha")

    house.fake.will_be("creating", "creating", "backing-up", "available")
    said = add(house, tmp_path)
    assert said.code == 0, said.err + said.out
    lines = [line.rpartition(" ")[0].rpartition(" ")[0] for line in said.out.splitlines()[1:-1]]
    assert lines[:4] == ["create_instance", "await_instance: creating", "await_instance: backing-up", "await_instance"]
    assert said.out.splitlines()[-1] == f"{NAME} takes tenants"
    house.fake.settle()
    assert house.fake.calls["CreateDBInstance"] == 1
    shown = house.command("server", "show", NAME, "--json").json
    assert (shown["host"], shown["port"], shown["admin"]) == (house.server.host, house.server.port, MASTER)
    assert shown["instance"]["state"] == "available"
    assert shown["instance"]["size"] == "db.t4g.medium, 100 GiB"
    assert "is on the roll already" in add(house, tmp_path).out

    created = house.command(
        "tenant",
        "create",
        "Acme",
        "--plan",
        "enterprise",
        "--model",
        "silo",
        "--server",
        NAME,
        "--label",
        "acme",
        "--json",
    )
    assert created.code == 0, created.err
    slug = created.json["slug"]
    key = house.command("key", "create", slug, "--role", "owner", "--json").json["key"]
    http = house.platform.client(f"{slug}.localhost:{house.platform.port}", key)
    until(lambda: _says(http), what="it is served")
    with house.server.superuser() as superuser:
        sessions = superuser.execute(
            "SELECT s.ssl FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) WHERE a.usename ~ '^silo_'"
        ).fetchall()
    assert set(sessions) == {(True,)}
    up = house.command("migrate", "up")
    assert up.code == 0, up.err

    refused = house.command("server", "remove", NAME, "--yes")
    assert "holds tenants: acme" in refused.error
    assert len(house.passwords_kept()) == 1
    closed = house.command("tenant", "close", slug, "--now", "--yes")
    assert (closed.code, house.passwords_kept()) == (0, []), closed.err
    for number in (1, 0, 1):
        house.command("server", "warm", NAME, str(number))
        until(lambda wanted=number: _ready(house) == len(house.passwords_kept()) == wanted, what="the warm silos")
    protected = house.command("server", "remove", NAME, "--yes")
    assert protected.error.endswith(f"is protected against deletion; say --confirm {INSTANCE} if its data may go")
    gone = house.command("server", "remove", NAME, "--yes", "--confirm", INSTANCE)
    assert gone.code == 0, gone.err
    assert on_the_roll(house) == {"alpha", "beta"}
    assert (house.fake.world.instances, house.fake.world.groups, house.secret_is_there()) == ({}, {}, False)
    assert house.passwords_kept() == []
    ((name, last),) = house.fake.world.snapshots.items()
    assert (name.startswith(f"{INSTANCE}-final-"), last["DBInstanceIdentifier"]) == (True, INSTANCE)


def _ready(house: RdsHouse) -> int:
    """The silos on the instance that nobody lives in yet."""
    found: int = house.command("server", "show", NAME, "--json").json["ready"]
    return found


def _says(http: httpx.Client) -> bool:
    return http.post("/api/conversations", json={"subject": "Hello"}).status_code == 201


def test_the_master_password_is_nowhere_but_sealed_and_in_its_secret(house: RdsHouse, tmp_path: Path) -> None:
    said = add(house, tmp_path)
    assert said.code == 0, said.err
    kept = json.loads(house.cloud.secrets("get_secret_value", SecretId=SECRET)["SecretString"])
    seen = said.out + said.err + house.server.log()
    seen += "".join(file.read_text(errors="replace") for file in (house.platform.data / "logs").iterdir())
    with transaction(house.platform.engine) as session:
        row = session.get_one(ServerRow, NAME)
        seen += f"{row.settings} {row.sealed_passwords}"
        seen += "".join(f"{each.id} {each.error}" for each in session.scalars(select(WorkflowRow)))
        sealed = row.sealed_passwords
    assert kept["password"] not in seen
    assert sealed is not None
    assert opened(house.platform.keyring, NAME, sealed)[MASTER] == kept["password"]


def test_a_worker_that_is_killed_while_it_is_made_is_taken_over(house: RdsHouse) -> None:
    house.fake.will_be("creating")
    with workers_alone(house.platform) as workers:
        workers.start("first")
        workflow = wish(house)
        until(lambda: "await_instance: creating" in house.steps(workflow), what="it is waited for")
        until(lambda: house.in_the_engine() == ["DELAYED"], what="nobody is held up by the waiting")
        with house.fake.lock:  # AWS does not answer
            until(lambda: house.in_the_engine() == ["PENDING"], what="somebody looks")
            workers.kill("first")
        house.fake.settle()
        house.fake.will_be("backing-up", "available")
        workers.start("second")
        wait_until_done(house.platform, workflow)
    assert house.fake.calls["CreateDBInstance"] == 1
    steps = house.steps(workflow)
    assert [steps.count(each) for each in ("create_instance", "await_instance: creating", "await_instance")] == [
        1,
        1,
        1,
    ]
    assert house.platform.server(NAME).status == "active"


def test_one_that_is_waited_for_is_not_taken_for_lost(house: RdsHouse) -> None:
    house.fake.will_be("creating")
    workflow = wish(house)
    until(lambda: "await_instance: creating" in house.steps(workflow), what="it is waited for")
    until(lambda: "DELAYED" in house.in_the_engine(), what="a later run is to look")
    assert house.platform.workflows.going_on([workflow]) == {workflow}
    assert not [each for each in examine(house.platform.estate).findings if each.server == NAME]
    house.fake.settle()
    house.fake.will_be("available")
    wait_until_done(house.platform, workflow)
    until(lambda: not house.platform.workflows.going_on([workflow]), what="the engine is done with it")


@pytest.mark.parametrize("word", ["incompatible-network", "storage-full"])
def test_what_is_mended_in_aws_is_gone_on_with(house: RdsHouse, word: str) -> None:
    house.fake.will_be("creating", word)
    workflow = wish(house)
    assert wait_until_ended(house.platform, workflow) == workflow_records.FAILED
    _, why = state_of(house.platform, workflow)
    assert why is not None
    assert why.startswith(f"RDS instance {INSTANCE} is {word}: ")
    house.fake.settle()
    house.fake.will_be("available")
    wait_until_done(house.platform, retry(house, workflow))
    assert house.fake.calls["CreateDBInstance"] == 1


def test_one_that_failed_is_ended_without_a_snapshot_and_made_anew(house: RdsHouse, tmp_path: Path) -> None:
    house.fake.will_be("creating", "failed")
    said = add(house, tmp_path)
    assert f"RDS instance {INSTANCE} is failed: " in said.error
    assert "is failed" in house.command("server", "show", NAME, "--json").json["failure"]
    house.fake.settle()
    refused = house.command("server", "remove", NAME, "--yes", "--confirm", INSTANCE)
    assert "RDS takes no snapshot of it" in refused.error
    gone = house.command("server", "remove", NAME, "--yes", "--confirm", INSTANCE, "--no-snapshot")
    assert gone.code == 0, gone.err
    assert (house.fake.world.instances, house.fake.world.snapshots) == ({}, {})
    again = add(house, tmp_path)
    assert again.code == 0, again.err
    assert house.fake.calls["CreateDBInstance"] == 2


def test_aws_that_refuses_is_told_and_gone_on_with(house: RdsHouse) -> None:
    house.fake.will_be("creating", "available")
    house.fake.will_refuse("DescribeDBInstances", "Throttling", times=1000)
    workflow = wish(house)
    assert wait_until_ended(house.platform, workflow, GIVEN_UP_WITHIN_S) == workflow_records.FAILED
    assert "(Throttling)" in str(state_of(house.platform, workflow)[1])
    house.fake.refusals.clear()
    house.fake.will_refuse("CreateDBInstance", "AccessDenied")
    workflow = retry(house, workflow)
    assert wait_until_ended(house.platform, workflow) == workflow_records.FAILED
    assert str(state_of(house.platform, workflow)[1]).endswith(
        "let this role do it (docs/operations/rds.md has the policy)"
    )
    wait_until_done(house.platform, retry(house, workflow))


def test_what_takes_too_long_is_told_and_waited_for_again(house: RdsHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COPYHOLD_RDS__READY_WITHIN_S", "0.3")
    house.fake.will_be("creating")
    with workers_alone(house.platform) as workers:
        workers.start("hasty")
        workflow = wish(house)
        assert wait_until_ended(house.platform, workflow) == workflow_records.FAILED
        assert f"RDS instance {INSTANCE} is still creating after 0 minutes" in str(
            state_of(house.platform, workflow)[1]
        )
    house.fake.settle()
    house.fake.will_be("creating", "available")
    wait_until_done(house.platform, retry(house, workflow))


def test_one_that_was_deleted_by_hand_is_not_made_anew(house: RdsHouse) -> None:
    house.fake.will_be("creating", "gone")
    workflow = wish(house)
    assert wait_until_ended(house.platform, workflow) == workflow_records.FAILED
    assert "is gone" in str(state_of(house.platform, workflow)[1])
    again = retry(house, workflow)
    assert wait_until_ended(house.platform, again) == workflow_records.FAILED
    assert "somebody deleted it by hand" in str(state_of(house.platform, again)[1])
    assert house.fake.calls["CreateDBInstance"] == 1


def test_a_master_login_that_may_not_make_the_roles_is_told_before_a_tenant_comes(house: RdsHouse) -> None:
    house.prepared = False
    workflow = wish(house)
    assert wait_until_ended(house.platform, workflow) == workflow_records.FAILED
    assert f"there is no copyhold_migrator: {MASTER} may not make it" in str(state_of(house.platform, workflow)[1])
    house.prepare()
    wait_until_done(house.platform, retry(house, workflow))


def test_a_worker_that_is_killed_while_it_ends_is_taken_over(house: RdsHouse) -> None:
    wait_until_done(house.platform, wish(house))
    house.fake.will_be("available", "available", "deleting")
    with workers_alone(house.platform) as workers:
        workers.start("first")
        with transaction(house.platform.engine) as session:
            workflow = joining.leave(session, house.platform.workflows, NAME, "tests", confirm=INSTANCE)
        until(lambda: "end_instance: deleting" in house.steps(workflow), what="AWS deletes it")
        with house.fake.lock:
            until(lambda: house.in_the_engine() == ["PENDING"], what="somebody looks")
            workers.kill("first")
        house.fake.settle()
        house.fake.will_be("gone")
        workers.start("second")
        wait_until_done(house.platform, workflow)
    assert workflow == house.workflow(SUBJECT, REMOVE_SERVER)
    assert (on_the_roll(house), len(house.fake.world.snapshots)) == ({"alpha", "beta"}, 1)


def test_it_is_changed_to_another_shape(house: RdsHouse, tmp_path: Path) -> None:
    wait_until_done(house.platform, wish(house))
    larger = shape_file(tmp_path, instance_class="db.r6g.large", storage_gib=200)
    said = house.command("server", "modify", NAME, "--shape", larger, "--at-once", "--dry-run")
    assert said.out == "would be changed: AllocatedStorage, DBInstanceClass\n"
    assert house.fake.calls["ModifyDBInstance"] == 0
    house.command("server", "modify", NAME, "--shape", larger, "--at-once")
    assert house.command("server", "show", NAME, "--json").json["instance"]["size"] == "db.r6g.large, 200 GiB"
    assert house.platform.server(NAME).rds["shape"]["storage_gib"] == 200
    assert house.command("server", "modify", NAME, "--shape", larger).out == f"{NAME} is so already\n"
    assert "is no RDS instance" in house.command("server", "modify", "beta", "--shape", larger).error


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--provider", "rds"), "an RDS instance has a shape"),
        (("--provider", "rds", "--shape", "{shape}", "--address", "db:5432/keeper"), "AWS gives it its address"),
        (("--provider", "rds", "--shape", "/nonexistent"), "cannot be read"),
        (
            (
                "--provider",
                "elsewhere",
            ),
            "there is no provider",
        ),
    ],
    ids=["no shape", "an address", "no file", "no provider"],
)
def test_a_wish_that_cannot_be_is_refused(house: RdsHouse, tmp_path: Path, words: tuple[str, ...], why: str) -> None:
    shape = shape_file(tmp_path)
    said = house.command("server", "add", NAME, *(word.format(shape=shape) for word in words))
    assert (said.code, why in said.error) == (2, True), said.err
    assert on_the_roll(house) == {"alpha", "beta"}
