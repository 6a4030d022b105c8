"""What RDS does when it takes its time or does not do it at all; polls and calls are counted, never time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from provisioning.providers.base import ProviderError
from provisioning.providers.rds.aws import TRY_AGAIN, AwsError, pages
from provisioning.providers.rds.pace import LONGEST_PAUSE_S
from provisioning.providers.rds.provider import RdsProvider
from provisioning.providers.rds.states import NO_LAST_SNAPSHOT, WHAT_TO_DO, RdsStatus, State
from tests.providers.rds.clouds import INSTANCE, NAME, SHAPE, Cloud
from tests.providers.rds.fake import GONE, FakeRds

LOOK = "DescribeDBInstances"
TRIES = 8
POLL_S = 15.0


@pytest.fixture
def provider(slow_cloud: Cloud) -> RdsProvider:
    return slow_cloud.provider()


def test_progress_is_told_state_by_state(provider: RdsProvider, slow_cloud: Cloud, fake: FakeRds) -> None:
    fake.will_be(*["creating"] * 5, "backing-up", "backing-up", "available")
    provider.begin(NAME)
    assert provider.status(NAME).address is None
    with pytest.raises(ProviderError, match="has no address yet: it is creating"):
        provider.endpoint(NAME)
    told: list[RdsStatus] = []
    looks = fake.calls[LOOK]
    status = provider.await_ready(NAME, progress=told.append)
    assert [each.word for each in told] == ["creating", "backing-up", "available"]
    assert status == told[-1]
    assert fake.calls[LOOK] - looks == 5
    assert slow_cloud.clock.slept == [POLL_S] * 4
    assert provider.endpoint(NAME).port == 5432


def test_ensure_waits_for_the_address_and_no_longer(provider: RdsProvider, fake: FakeRds) -> None:
    fake.will_be("creating", "creating", "creating", "backing-up", "available")
    provider.ensure(NAME)
    assert provider.status(NAME).word == "available"


def test_an_instance_in_the_making_is_adopted_and_not_made_twice(provider: RdsProvider, fake: FakeRds) -> None:
    fake.will_be("creating")
    provider.begin(NAME)
    provider.begin(NAME)
    assert fake.calls["CreateDBInstance"] == 1


def test_waiting_ends_at_its_deadline_and_may_be_repeated(provider: RdsProvider, fake: FakeRds) -> None:
    fake.will_be("creating")
    provider.begin(NAME)
    looks = fake.calls[LOOK]
    with pytest.raises(ProviderError, match="is still creating after 60 s; repeat this to go on waiting"):
        provider.await_ready(NAME, deadline_s=4 * POLL_S)
    assert fake.calls[LOOK] - looks == 5
    fake.will_be("available")
    fake.script.popleft()
    assert provider.await_ready(NAME).state is State.READY


@pytest.mark.parametrize("word", [*sorted(WHAT_TO_DO), "incompatible-with-everything"])
def test_a_state_that_does_not_get_better_says_what_to_do(provider: RdsProvider, fake: FakeRds, word: str) -> None:
    fake.will_be("creating", "creating", word)
    provider.begin(NAME)
    looks = fake.calls[LOOK]
    with pytest.raises(ProviderError) as raised:
        provider.await_ready(NAME)
    todo = WHAT_TO_DO.get(word, "look at its events in RDS")
    assert f"RDS instance {INSTANCE} is {word}: {todo}" in str(raised.value)
    assert raised.value.facts == {"instance": INSTANCE, "state": word}
    assert fake.calls[LOOK] - looks == 2
    for method in (provider.start, provider.stop):
        with pytest.raises(ProviderError, match=f"is {word}: "):
            method(NAME)
    assert provider.status(NAME).word == word


def test_an_instance_that_is_being_deleted_is_waited_for_by_nobody(provider: RdsProvider, fake: FakeRds) -> None:
    fake.will_be("available")
    provider.ensure(NAME)
    fake.script.clear()
    fake.will_be("deleting")
    for method in (provider.ensure, provider.begin, provider.start, provider.modify, provider.await_ready):
        with pytest.raises(ProviderError, match="is being deleted; wait until it is gone"):
            method(NAME)


@pytest.mark.parametrize("before", [["creating"], ["creating", "backing-up"], ["modifying"]])
def test_one_that_vanishes_between_two_looks_is_missed(provider: RdsProvider, fake: FakeRds, before: list[str]) -> None:
    provider.ensure(NAME)
    fake.will_be(*before, GONE)
    with pytest.raises(ProviderError, match=r"is gone.*restore its last snapshot") as raised:
        provider.await_ready(NAME)
    assert raised.value.facts["state"] == "absent"


def test_one_look_that_misses_it_is_no_loss(provider: RdsProvider, fake: FakeRds) -> None:
    fake.will_be("creating")
    provider.begin(NAME)
    fake.will_be("creating", "creating", "available")
    fake.will_refuse(LOOK, "DBInstanceNotFound")
    assert provider.await_ready(NAME).state is State.READY


def test_a_stopped_instance_is_not_waited_for(provider: RdsProvider, fake: FakeRds) -> None:
    fake.will_be("available", "stopped")
    provider.begin(NAME)
    with pytest.raises(ProviderError, match="is stopped; start it"):
        provider.await_ready(NAME)


def test_start_and_stop_wait_for_what_they_asked(provider: RdsProvider, fake: FakeRds) -> None:
    fake.will_be("available", "available", "available", "stopping", "stopping", "stopped")
    provider.begin(NAME)
    provider.stop(NAME)
    assert fake.world.instances[INSTANCE].status == "stopped"
    fake.script.clear()
    fake.will_be("stopping", "stopped", "starting", "starting", "available")
    provider.start(NAME)
    assert fake.world.instances[INSTANCE].status == "available"
    assert (fake.calls["StopDBInstance"], fake.calls["StartDBInstance"]) == (1, 1)


@pytest.mark.parametrize("action", ["StopDBInstance", "StartDBInstance"])
def test_what_aws_does_not_do_now_is_asked_for_again(provider: RdsProvider, fake: FakeRds, action: str) -> None:
    provider.ensure(NAME)
    fake.will_refuse(action, "InvalidDBInstanceState", times=2)
    provider.stop(NAME)
    provider.start(NAME)
    assert fake.calls[action] == 3


@pytest.mark.parametrize("code", sorted(TRY_AGAIN))
def test_a_throttled_call_is_repeated_after_longer_and_longer_pauses(
    provider: RdsProvider, slow_cloud: Cloud, fake: FakeRds, code: str
) -> None:
    provider.ensure(NAME)
    looks = fake.calls[LOOK]
    fake.will_refuse(LOOK, code, times=TRIES - 1)
    assert provider.status(NAME).state is State.READY
    assert fake.calls[LOOK] - looks == TRIES
    assert slow_cloud.clock.slept == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, LONGEST_PAUSE_S]


@pytest.mark.parametrize("action", ["CreateDBInstance", "CreateDBParameterGroup", "ModifyDBParameterGroup"])
def test_a_throttled_creation_is_made_once(provider: RdsProvider, fake: FakeRds, action: str) -> None:
    fake.will_refuse(action, "RequestLimitExceeded", times=3)
    provider.ensure(NAME)
    assert fake.calls[action] == 4
    assert fake.world.made == 1


def test_endless_throttling_ends_in_an_error(provider: RdsProvider, fake: FakeRds) -> None:
    fake.will_refuse(LOOK, "Throttling", times=TRIES)
    with pytest.raises(AwsError, match=r"describe_db_instances failed: .*\(Throttling\)"):
        provider.status(NAME)
    assert fake.calls[LOOK] == TRIES


def test_what_aws_refuses_for_good_is_not_repeated(provider: RdsProvider, fake: FakeRds) -> None:
    fake.will_refuse("CreateDBInstance", "InstanceQuotaExceeded")
    with pytest.raises(AwsError, match="raise the quota of DB instances"):
        provider.begin(NAME)
    assert fake.calls["CreateDBInstance"] == 1
    provider.ensure(NAME)
    assert fake.world.made == 1


@pytest.mark.parametrize(
    "action", ["CreateDBInstance", "CreateDBParameterGroup", "ModifyDBParameterGroup", "DescribeDBInstances"]
)
def test_an_answer_that_is_lost_makes_nothing_twice(provider: RdsProvider, fake: FakeRds, action: str) -> None:
    fake.will_lose_the_answer(action, times=2)
    provider.ensure(NAME)
    assert fake.world.made == 1
    assert provider.status(NAME).state is State.READY
    assert list(fake.world.groups) == [INSTANCE]


def test_a_lost_creation_of_somebody_else_is_not_taken_for_ours(
    provider: RdsProvider, slow_cloud: Cloud, fake: FakeRds
) -> None:
    other = slow_cloud.provider(platform="main-acme", shapes={"x": SHAPE})
    both = slow_cloud.provider(shapes={"acme-x": SHAPE})
    both.begin("acme-x")
    fake.will_refuse(LOOK, "DBInstanceNotFound")  # it was made right after this look
    with pytest.raises(ProviderError, match="is not this platform's server x"):
        other.begin("x")


@pytest.mark.parametrize("action", ["ModifyDBInstance", "DeleteDBInstance", "DeleteDBParameterGroup"])
def test_a_deletion_whose_answer_is_lost_ends_all_the_same(provider: RdsProvider, fake: FakeRds, action: str) -> None:
    provider.ensure(NAME)
    fake.will_lose_the_answer(action)
    provider.destroy(NAME, confirm=INSTANCE)
    assert (fake.world.instances, fake.world.groups, len(fake.world.snapshots)) == ({}, {}, 1)


def test_destroy_waits_until_the_instance_is_gone(provider: RdsProvider, fake: FakeRds) -> None:
    fake.will_be("available")
    provider.ensure(NAME)
    fake.script.clear()
    fake.will_be("creating", "backing-up", "modifying", "available", "deleting", "deleting", GONE)
    provider.destroy(NAME, confirm=INSTANCE)
    assert (fake.world.instances, fake.world.groups) == ({}, {})
    assert fake.calls["DeleteDBInstance"] == 1


def test_destroy_goes_on_with_a_deletion_that_is_under_way(provider: RdsProvider, fake: FakeRds) -> None:
    provider.ensure(NAME)
    fake.will_be("deleting", "deleting", GONE)
    provider.destroy(NAME)
    assert fake.calls["DeleteDBInstance"] == 0
    assert fake.world.groups == {}


def test_destroy_of_a_stopped_and_protected_instance_starts_it_first(provider: RdsProvider, fake: FakeRds) -> None:
    provider.ensure(NAME)
    provider.stop(NAME)
    provider.destroy(NAME, confirm=INSTANCE)
    assert fake.world.instances == {}
    assert len(fake.world.snapshots) == 1


@pytest.mark.parametrize("word", sorted(NO_LAST_SNAPSHOT))
def test_of_one_that_failed_no_snapshot_is_promised(provider: RdsProvider, fake: FakeRds, word: str) -> None:
    provider.ensure(NAME)
    fake.world.become(INSTANCE, word)
    with pytest.raises(ProviderError, match=f"is {word}: RDS takes no snapshot of it"):
        provider.destroy(NAME, confirm=INSTANCE)
    assert fake.world.instances[INSTANCE].asked["DeletionProtection"] is True
    provider.destroy(NAME, confirm=INSTANCE, final_snapshot=False)
    assert (fake.world.instances, fake.world.snapshots) == ({}, {})


def test_full_storage_is_cured_by_modify(slow_cloud: Cloud, fake: FakeRds) -> None:
    slow_cloud.provider().ensure(NAME)
    fake.world.become(INSTANCE, "storage-full")
    with pytest.raises(ProviderError, match="raise storage_gib and modify it"):
        slow_cloud.provider().await_ready(NAME)
    larger = slow_cloud.changed(storage_gib=200)
    assert larger.modify(NAME, at_once=True) == ("AllocatedStorage",)
    fake.will_be("modifying", "storage-optimization")
    assert larger.await_ready(NAME).state is State.READY


def test_modify_waits_for_its_turn(slow_cloud: Cloud, fake: FakeRds) -> None:
    slow_cloud.provider().ensure(NAME)
    fake.will_be("modifying", "modifying", "available")
    assert slow_cloud.changed(multi_az=True).modify(NAME, at_once=True) == ("MultiAZ",)
    assert fake.calls["ModifyDBInstance"] == 1


def test_modify_asks_again_when_aws_began_to_work_on_it(slow_cloud: Cloud, fake: FakeRds) -> None:
    slow_cloud.provider().ensure(NAME)
    fake.will_refuse("ModifyDBInstance", "InvalidDBInstanceState")
    assert slow_cloud.changed(multi_az=True).modify(NAME, at_once=True) == ("MultiAZ",)
    assert fake.world.instances[INSTANCE].asked["MultiAZ"] is True


def test_a_modification_whose_answer_is_lost_is_still_reported(slow_cloud: Cloud, fake: FakeRds) -> None:
    slow_cloud.provider().ensure(NAME)
    fake.will_be("available", "modifying", "available")
    fake.will_lose_the_answer("ModifyDBInstance")
    assert slow_cloud.changed(multi_az=True).modify(NAME, at_once=True) == ("MultiAZ",)
    assert fake.calls["ModifyDBInstance"] == 2


def test_a_change_that_waits_for_the_window_is_asked_for_once(slow_cloud: Cloud, fake: FakeRds) -> None:
    slow_cloud.provider().ensure(NAME)
    larger = slow_cloud.changed(instance_class="db.r6g.large", backup_retention_days=14)
    assert larger.modify(NAME) == ("BackupRetentionPeriod", "DBInstanceClass")
    assert larger.status(NAME).pending == ("BackupRetentionPeriod", "DBInstanceClass")
    assert larger.modify(NAME) == ()
    assert larger.modify(NAME, at_once=True) == ("BackupRetentionPeriod", "DBInstanceClass")
    assert larger.status(NAME).pending == ()


def test_a_stopped_instance_is_not_modified(provider: RdsProvider, fake: FakeRds) -> None:
    provider.ensure(NAME)
    provider.stop(NAME)
    with pytest.raises(ProviderError, match="is stopped: AWS changes nothing of it; start it first"):
        provider.modify(NAME)


def test_a_restart_happens_only_where_parameters_wait_for_it(provider: RdsProvider, fake: FakeRds) -> None:
    provider.ensure(NAME)
    provider.restart(NAME)
    assert fake.calls["RebootDBInstance"] == 0
    fake.world.instances[INSTANCE].restart_needed = True
    assert provider.await_ready(NAME).restart_needed
    fake.will_be("available", "available", "rebooting", "rebooting", "available")
    fake.will_refuse("RebootDBInstance", "InvalidDBInstanceState")
    provider.restart(NAME)
    assert fake.calls["RebootDBInstance"] == 2
    assert not provider.await_ready(NAME).restart_needed


def test_a_group_that_is_still_in_use_is_waited_for(provider: RdsProvider, fake: FakeRds) -> None:
    provider.ensure(NAME)
    fake.will_refuse("DeleteDBParameterGroup", "InvalidDBParameterGroupState", times=3)
    provider.destroy(NAME, confirm=INSTANCE)
    assert fake.calls["DeleteDBParameterGroup"] == 4
    assert fake.world.groups == {}


def test_without_credentials_the_error_says_so(slow_cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    bare = replace(slow_cloud.aws)
    with pytest.raises(AwsError, match="give this process valid AWS credentials"):
        slow_cloud.provider(accounts=lambda _: bare).status(NAME)


def test_a_server_of_aws_that_is_not_there_is_asked_a_bounded_number_of_times(slow_cloud: Cloud) -> None:
    nowhere = replace(slow_cloud.aws, endpoint_urls={"rds": "http://127.0.0.1:1"})
    with pytest.raises(AwsError, match="EndpointConnectionError"):
        slow_cloud.provider(accounts=lambda _: nowhere).status(NAME)
    assert len(slow_cloud.clock.slept) == TRIES - 1


def test_nothing_is_asked_without_a_shape(provider: RdsProvider, fake: FakeRds) -> None:
    calls: list[Callable[[str], Any]] = [provider.ensure, provider.status, provider.stop, provider.destroy]
    for method in calls:
        with pytest.raises(ProviderError, match="no shape is given for the RDS server other"):
            method("other")
    assert not fake.calls


def test_a_listing_of_several_pages_is_read_to_its_end() -> None:
    class Pages:
        def call(self, service: str, operation: str, **arguments: Any) -> dict[str, Any]:
            page = int(arguments.get("Marker", "0"))
            return {"Things": [{"number": page}], **({"Marker": str(page + 1)} if page < 2 else {})}

    assert [each["number"] for each in pages(Pages(), "rds", "describe_things", "Things")] == [0, 1, 2]
