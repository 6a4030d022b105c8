"""A process that dies at any call that changes AWS, before or after AWS took it: a repeat makes all of it, once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from provisioning.providers.base import ProviderError
from provisioning.providers.rds.aws import Account, AwsError
from provisioning.providers.rds.master import INSTANCE_TAG
from provisioning.providers.rds.parameters import AT_ONCE, AT_RESTART
from provisioning.providers.rds.provider import RdsProvider
from tests.providers.rds.clouds import INSTANCE, NAME, SHAPE, Cloud, password_kept
from tests.providers.rds.fake import FakeRds

CHANGED = "db.r6g.large"


class Died(BaseException):
    """The process is gone; nothing catches this."""


@dataclass(kw_only=True)
class Mortal:
    """An account whose caller dies at its n-th call that changes something; with n too high, nobody dies."""

    account: Account
    at: int
    after: bool
    """Whether AWS has taken that call."""
    changes: list[str] = field(default_factory=list)

    def call(self, service: str, operation: str, **arguments: Any) -> dict[str, Any]:
        if operation.startswith(("describe", "list", "get")):
            return self.account.call(service, operation, **arguments)
        self.changes.append(operation)
        dies = len(self.changes) == self.at
        if dies and not self.after:
            raise Died
        answer = self.account.call(service, operation, **arguments)
        if dies:
            raise Died
        return answer


def make(provider: RdsProvider) -> None:
    provider.ensure(NAME)


def change(provider: RdsProvider) -> None:
    provider.modify(NAME, at_once=True)


def destroy(provider: RdsProvider) -> None:
    provider.destroy(NAME, confirm=INSTANCE)


CREATION = [
    "create_secret",
    "create_db_parameter_group",
    "modify_db_parameter_group",
    "create_db_instance",
    "tag_resource",
]
DELETION = [
    "modify_db_instance",
    "delete_db_instance",
    "delete_db_parameter_group",
    "untag_resource",
    "delete_secret",
]
CASES: list[tuple[Callable[[RdsProvider], None], list[str]]] = [
    (make, CREATION),
    (change, ["modify_db_instance"]),
    (destroy, DELETION),
]


DEATHS = [
    pytest.param(work, number, after, id=f"{work.__name__}-{'after' if after else 'before'}-{operation}")
    for work, operations in CASES
    for number, operation in enumerate(operations, start=1)
    for after in (False, True)
]


def run(cloud: Cloud, work: Callable[[RdsProvider], None], account: Account) -> None:
    """In a process that knows nothing of earlier ones."""
    shape = replace(SHAPE, instance_class=CHANGED) if work is change else SHAPE
    work(cloud.provider(shape, accounts=lambda _: account))


def laid(cloud: Cloud, work: Callable[[RdsProvider], None]) -> Cloud:
    """The cloud, with an instance where the work needs one."""
    if work is not make:
        cloud.provider().ensure(NAME)
    return cloud


@pytest.mark.parametrize(("work", "operations"), CASES)
def test_the_calls_that_change_something_are_these(
    slow_cloud: Cloud, work: Callable[[RdsProvider], None], operations: list[str]
) -> None:
    account = Mortal(account=slow_cloud.aws, at=0, after=False)
    run(laid(slow_cloud, work), work, account)
    assert account.changes == operations


@pytest.mark.parametrize(("work", "number", "after"), DEATHS)
def test_a_death_is_followed_by_all_of_it(
    slow_cloud: Cloud, fake: FakeRds, work: Callable[[RdsProvider], None], number: int, after: bool
) -> None:
    laid(slow_cloud, work)
    with pytest.raises(Died):
        run(slow_cloud, work, Mortal(account=slow_cloud.aws, at=number, after=after))
    run(slow_cloud, work, slow_cloud.aws)
    if work is destroy:
        assert_gone(slow_cloud, fake)
    else:
        assert_whole(slow_cloud, fake, CHANGED if work is change else SHAPE.instance_class)


@pytest.mark.parametrize(("number", "after"), [(n, after) for n in range(1, len(CREATION) + 1) for after in (0, 1)])
def test_what_a_dead_creation_left_can_be_destroyed(slow_cloud: Cloud, fake: FakeRds, number: int, after: bool) -> None:
    with pytest.raises(Died):
        run(slow_cloud, make, Mortal(account=slow_cloud.aws, at=number, after=bool(after)))
    run(slow_cloud, destroy, slow_cloud.aws)
    assert (fake.world.instances, fake.world.groups) == ({}, {})
    secrets = slow_cloud.secrets("list_secrets", IncludePlannedDeletion=True)["SecretList"]
    assert all("DeletedDate" in each for each in secrets)


@pytest.mark.parametrize(("number", "after"), [(n, after) for n in range(1, len(DELETION) + 1) for after in (0, 1)])
def test_after_a_dead_deletion_the_server_is_made_again_or_it_is_said_why_not(
    slow_cloud: Cloud, fake: FakeRds, number: int, after: bool
) -> None:
    slow_cloud.provider().ensure(NAME)
    with pytest.raises(Died):
        run(slow_cloud, destroy, Mortal(account=slow_cloud.aws, at=number, after=bool(after)))
    deleted = INSTANCE not in fake.world.instances
    forgotten = DELETION.index("untag_resource") + 1
    if deleted and (number, after) < (forgotten, True):
        with pytest.raises(ProviderError, match="remove the server here"):
            run(slow_cloud, make, slow_cloud.aws)
        run(slow_cloud, destroy, slow_cloud.aws)
    run(slow_cloud, make, slow_cloud.aws)
    assert INSTANCE in fake.world.instances


def assert_whole(cloud: Cloud, fake: FakeRds, instance_class: str) -> None:
    """One of each, that fit together."""
    assert (list(fake.world.instances), list(fake.world.groups), fake.world.made) == ([INSTANCE], [INSTANCE], 1)
    asked = fake.world.instances[INSTANCE].asked
    assert asked["MasterUserPassword"] == password_kept(cloud)
    assert asked["DBInstanceClass"] == instance_class
    assert cloud.parameters() == AT_RESTART | AT_ONCE
    secrets = cloud.secrets("list_secrets", IncludePlannedDeletion=True)["SecretList"]
    assert ["DeletedDate" in each for each in secrets] == [False]
    assert INSTANCE_TAG in {tag["Key"] for tag in secrets[0]["Tags"]}


def assert_gone(cloud: Cloud, fake: FakeRds) -> None:
    """Nothing but one snapshot, and a secret that waits for its end."""
    assert (fake.world.instances, fake.world.groups, len(fake.world.snapshots)) == ({}, {}, 1)
    secrets = cloud.secrets("list_secrets", IncludePlannedDeletion=True)["SecretList"]
    assert ["DeletedDate" in each for each in secrets] == [True]


@dataclass(kw_only=True)
class Overtaken:
    """An account whose caller is overtaken: right before one of its calls, somebody else does the whole work."""

    account: Account
    at: str
    meanwhile: Callable[[], None]

    def call(self, service: str, operation: str, **arguments: Any) -> dict[str, Any]:
        if operation == self.at:
            self.at = ""
            self.meanwhile()
        return self.account.call(service, operation, **arguments)


@pytest.mark.parametrize("operation", CREATION)
def test_two_that_make_it_at_once_make_one(slow_cloud: Cloud, fake: FakeRds, operation: str) -> None:
    other = Overtaken(account=slow_cloud.aws, at=operation, meanwhile=lambda: run(slow_cloud, make, slow_cloud.aws))
    run(slow_cloud, make, other)
    assert other.at == ""
    assert_whole(slow_cloud, fake, SHAPE.instance_class)


@pytest.mark.parametrize("operation", DELETION)
def test_two_that_destroy_it_at_once_leave_one_snapshot(slow_cloud: Cloud, fake: FakeRds, operation: str) -> None:
    laid(slow_cloud, destroy)
    other = Overtaken(account=slow_cloud.aws, at=operation, meanwhile=lambda: run(slow_cloud, destroy, slow_cloud.aws))
    run(slow_cloud, destroy, other)
    assert other.at == ""
    assert_gone(slow_cloud, fake)


@pytest.mark.parametrize("operation", CREATION)
def test_a_refusal_is_told_and_leaves_what_a_repeat_completes(slow_cloud: Cloud, fake: FakeRds, operation: str) -> None:
    @dataclass
    class Refusing:
        refused: str

        def call(self, service: str, operation: str, **arguments: Any) -> dict[str, Any]:
            if operation == self.refused:
                raise AwsError(f"{operation} is not allowed", reason="AccessDeniedException")
            return slow_cloud.aws.call(service, operation, **arguments)

    with pytest.raises(AwsError, match=f"{operation} is not allowed"):
        run(slow_cloud, make, Refusing(operation))
    run(slow_cloud, make, slow_cloud.aws)
    assert_whole(slow_cloud, fake, SHAPE.instance_class)
