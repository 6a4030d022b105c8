"""The fake is held to moto: the same calls have the same answers, field by field."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from provisioning.providers.rds.aws import AwsError
from provisioning.providers.rds.master import MasterLogin
from provisioning.providers.rds.names import Names
from provisioning.providers.rds.requests import creation
from tests.providers.rds.clouds import INSTANCE, SHAPE, Cloud

NAMES = Names(platform="main", server="acme")
LOGIN = MasterLogin(user="copyhold_master", password="correct-horse-battery")
OWN = frozenset({"DbiResourceId", "DBInstanceArn", "DBParameterGroupArn", "ResponseMetadata"})
"""Chosen by whoever answers."""
MOTO_LACKS = frozenset({"PendingModifiedValues"})
"""RDS has it; moto carries every change out at once."""
ONE = {"DBInstanceIdentifier": INSTANCE}
GROUP = {"DBParameterGroupName": INSTANCE}
NEW_GROUP = {**GROUP, "DBParameterGroupFamily": "postgres16", "Description": "-", "Tags": NAMES.tags}
PARAMETER = {"ParameterName": "rds.force_ssl", "ParameterValue": "1", "ApplyMethod": "immediate"}
NOW = {"ApplyImmediately": True}
LAST = {"SkipFinalSnapshot": False, "FinalDBSnapshotIdentifier": "last-one"}
CALLS: list[tuple[str, dict[str, Any]]] = [
    ("describe_db_instances", ONE),
    ("describe_db_parameters", GROUP),
    ("modify_db_parameter_group", {**GROUP, "Parameters": [PARAMETER]}),
    ("delete_db_parameter_group", GROUP),
    ("create_db_instance", creation(NAMES, SHAPE, LOGIN)),
    ("create_db_parameter_group", NEW_GROUP),
    ("create_db_parameter_group", NEW_GROUP),
    ("describe_db_parameter_groups", GROUP),
    ("list_tags_for_resource", {"ResourceName": "that of the group"}),
    ("describe_db_parameters", {**GROUP, "Source": "user"}),
    ("modify_db_parameter_group", {**GROUP, "Parameters": [PARAMETER]}),
    ("describe_db_parameters", {**GROUP, "Source": "user"}),
    ("create_db_instance", creation(NAMES, SHAPE, LOGIN)),
    ("create_db_instance", creation(NAMES, SHAPE, LOGIN)),
    ("describe_db_instances", ONE),
    ("modify_db_instance", {**ONE, **NOW, "AllocatedStorage": 200, "VpcSecurityGroupIds": ["sg-01", "sg-02"]}),
    ("modify_db_instance", {**ONE, **NOW, "MultiAZ": True, "DBInstanceClass": "db.r6g.large"}),
    ("modify_db_instance", {**ONE, **NOW}),
    ("describe_db_instances", ONE),
    ("delete_db_instance", {**ONE, **LAST}),
    ("start_db_instance", ONE),
    ("stop_db_instance", ONE),
    ("stop_db_instance", ONE),
    ("describe_db_instances", ONE),
    ("start_db_instance", ONE),
    ("reboot_db_instance", ONE),
    ("modify_db_instance", {**ONE, **NOW, "DeletionProtection": False}),
    ("describe_db_snapshots", {"DBSnapshotIdentifier": "last-one"}),
    ("delete_db_instance", {**ONE, **LAST}),
    ("describe_db_instances", ONE),
    ("modify_db_instance", {**ONE, "MultiAZ": False}),
    ("delete_db_instance", {**ONE, "SkipFinalSnapshot": True}),
    ("describe_db_snapshots", {"DBSnapshotIdentifier": "last-one"}),
    ("create_db_instance", creation(NAMES, SHAPE, LOGIN)),
    ("modify_db_instance", {**ONE, **NOW, "DeletionProtection": False}),
    ("delete_db_instance", {**ONE, **LAST}),
    ("delete_db_instance", {**ONE, "SkipFinalSnapshot": True}),
    ("delete_db_parameter_group", GROUP),
    ("describe_db_parameters", GROUP),
]


@pytest.fixture
def answers(clouds: dict[str, Cloud]) -> dict[str, list[dict[str, Any]]]:
    """What each of the two answered to the same calls."""
    return {name: list(ask(cloud)) for name, cloud in clouds.items()}


def ask(cloud: Cloud) -> Iterator[dict[str, Any]]:
    """Make all calls on an empty cloud, errors being answers too. The ARN is that of an earlier answer."""
    cloud.reset()
    arn = ""
    for operation, arguments in CALLS:
        try:
            answer = cloud.rds(operation, **({"ResourceName": arn} if "ResourceName" in arguments else arguments))
        except AwsError as error:
            answer = {"refused": error.reason}
        arn = answer.get("DBParameterGroup", {}).get("DBParameterGroupArn", arn)
        yield answer


@pytest.mark.slow
def test_the_fake_answers_as_moto_does_in_every_field_that_it_has(answers: dict[str, list[dict[str, Any]]]) -> None:
    found = [
        difference
        for number, ((operation, _), ours, original) in enumerate(
            zip(CALLS, answers["fake"], answers["moto"], strict=True)
        )
        for difference in different(ours, original, f"{number} {operation}")
    ]
    assert not found, "\n".join(found)


def test_the_comparison_sees_instances_groups_snapshots_and_refusals(answers: dict[str, list[dict[str, Any]]]) -> None:
    """It could not fail if the answers were empty."""
    fields = {name for answer in answers["fake"] for name in answer}
    assert fields >= {
        "DBInstances",
        "DBInstance",
        "DBParameterGroups",
        "Parameters",
        "TagList",
        "DBSnapshots",
        "refused",
    }
    assert sum("refused" in answer for answer in answers["moto"]) >= 10


def different(ours: Any, original: Any, at: str) -> Iterator[str]:
    """Where an answer of the fake is not what moto says; what only moto has does not count."""
    if isinstance(ours, dict) and isinstance(original, dict):
        for name, value in ours.items():
            if name not in OWN | MOTO_LACKS:
                yield from different(value, original.get(name, "(nothing)"), f"{at}.{name}")
    elif isinstance(ours, list) and isinstance(original, list) and len(ours) == len(original):
        for number, (one, other) in enumerate(zip(ours, original, strict=True)):
            yield from different(one, other, f"{at}[{number}]")
    elif ours != original and not isinstance(ours, datetime):
        yield f"{at}: fake {ours!r}, moto {original!r}"
