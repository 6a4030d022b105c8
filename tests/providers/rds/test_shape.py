"""What a shape refuses, and what an instance's differences from it are."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Any

import pytest

from control_plane.domain.errors import InvalidError
from control_plane.domain.rds import RdsShape
from provisioning.providers.rds.master import MasterLogin
from provisioning.providers.rds.names import Names
from provisioning.providers.rds.requests import changeable, creation, differences
from tests.providers.rds.clouds import SHAPE

NAMES = Names(platform="main", server="acme")
SETTINGS: dict[str, Any] = {
    "region": "eu-central-1",
    "instance_class": "db.t4g.medium",
    "engine_version": "16.4",
    "storage_gib": 100,
    "subnet_group": "tenants",
    "security_groups": ["sg-0123456789abcdef0"],
}


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("region", "Frankfurt", "is not like eu-central-1"),
        ("region", 5, "is not a text"),
        ("instance_class", "t4g.medium", "is not like db.t4g.medium"),
        ("engine_version", "sixteen", "is not like 16 or 16.4"),
        ("engine_version", "16.4.1", "is not like 16 or 16.4"),
        ("engine_version", "14.9", "PostgreSQL 15 or newer"),
        ("storage_gib", 19, "20 to 65536 for gp3"),
        ("storage_gib", 65_537, "20 to 65536 for gp3"),
        ("storage_gib", "100", "is not a whole number"),
        ("storage_gib", True, "is not a whole number"),
        ("storage_type", "magnetic", "gp2 or gp3"),
        ("storage_type", "io2", "given for io2"),
        ("iops", 0, "a positive number"),
        ("multi_az", "yes", "is not true or false"),
        ("subnet_group", "", "the name of a DB subnet group"),
        ("security_groups", (), "at least one"),
        ("security_groups", ("default",), "is not like sg-"),
        ("security_groups", "sg-0123", "is not a list of texts"),
        ("backup_retention_days", 0, "1 to 35"),
        ("backup_retention_days", 36, "1 to 35"),
        ("deletion_protection", None, "is not true or false"),
        ("kms_key", "", "a KMS key"),
    ],
)
def test_a_bad_field_is_refused_by_name(field: str, value: Any, said: str) -> None:
    with pytest.raises(InvalidError, match=said) as raised:
        replace(SHAPE, **{field: value})
    name = "iops" if value == "io2" else field
    assert raised.value.facts["field"] == name
    assert str(raised.value).startswith(name)


def test_iops_belong_to_types_that_take_them() -> None:
    assert replace(SHAPE, storage_type="io2", iops=3000).iops == 3000
    with pytest.raises(InvalidError, match="iops must be left out for gp2"):
        replace(SHAPE, storage_type="gp2", iops=3000)
    with pytest.raises(InvalidError, match="storage_gib must be 100 to 65536 for io1"):
        replace(SHAPE, storage_type="io1", iops=3000, storage_gib=50)


def test_a_shape_comes_from_the_settings_of_a_server() -> None:
    assert RdsShape.of(SETTINGS) == SHAPE
    assert RdsShape.of({**SETTINGS, "multi_az": True}).multi_az


@pytest.mark.parametrize("missing", sorted(SETTINGS))
def test_settings_that_lack_something_are_refused_by_name(missing: str) -> None:
    with pytest.raises(InvalidError, match=f"an RDS server needs {missing}$"):
        RdsShape.of({key: value for key, value in SETTINGS.items() if key != missing})


def test_a_setting_that_nobody_knows_is_refused() -> None:
    with pytest.raises(InvalidError, match="an RDS server has no setting multiaz; it has region,"):
        RdsShape.of({**SETTINGS, "multiaz": True})


def test_the_default_is_the_safe_one() -> None:
    defaults = {field.name: field.default for field in dataclasses.fields(RdsShape)}
    assert (defaults["deletion_protection"], defaults["backup_retention_days"]) == (True, 7)
    asked = creation(NAMES, SHAPE, MasterLogin(user="u", password="p"))
    assert (asked["StorageEncrypted"], asked["DeletionProtection"]) == (True, True)
    assert (asked["PubliclyAccessible"], asked["EnablePerformanceInsights"]) == (False, False)
    assert "KmsKeyId" not in asked
    assert (
        creation(NAMES, replace(SHAPE, kms_key="alias/x"), MasterLogin(user="u", password="p"))["KmsKeyId"] == "alias/x"
    )


def described(**fields: Any) -> dict[str, Any]:
    """An instance as its shape wants it, but for these fields."""
    asked = changeable(NAMES, SHAPE)
    return {
        **asked,
        "EngineVersion": "16.4",
        "VpcSecurityGroups": [{"VpcSecurityGroupId": each} for each in asked["VpcSecurityGroupIds"]],
        "DBParameterGroups": [{"DBParameterGroupName": asked["DBParameterGroupName"]}],
        **fields,
    }


@pytest.mark.parametrize(
    ("fields", "asked"),
    [
        ({}, {}),
        ({"AllocatedStorage": 99}, {"AllocatedStorage": 100}),
        ({"AllocatedStorage": 101}, {}),
        ({"EngineVersion": "16.3"}, {"EngineVersion": "16.4"}),
        ({"EngineVersion": "16.4-R2"}, {}),
        ({"EngineVersion": "16.10"}, {}),
        ({"PubliclyAccessible": True}, {"PubliclyAccessible": False}),
        ({"DeletionProtection": False}, {"DeletionProtection": True}),
        ({"CopyTagsToSnapshot": False}, {"CopyTagsToSnapshot": True}),
        (
            {"DBParameterGroups": [{"DBParameterGroupName": "default.postgres16"}]},
            {"DBParameterGroupName": NAMES.instance},
        ),
        ({"VpcSecurityGroups": []}, {"VpcSecurityGroupIds": list(SHAPE.security_groups)}),
        ({"MultiAZ": True}, {"MultiAZ": False}),
        ({"MultiAZ": True, "PendingModifiedValues": {"MultiAZ": False}}, {}),
        ({"PendingModifiedValues": {"MultiAZ": True}}, {"MultiAZ": False}),
    ],
)
def test_only_differences_are_asked_for(fields: dict[str, Any], asked: dict[str, Any]) -> None:
    assert differences(NAMES, SHAPE, described(**fields), at_once=False) == asked


def test_at_once_does_not_wait_for_what_is_pending() -> None:
    found = described(MultiAZ=True, PendingModifiedValues={"MultiAZ": False})
    assert differences(NAMES, SHAPE, found, at_once=True) == {"MultiAZ": False}


def test_a_major_version_alone_takes_any_minor_one() -> None:
    assert differences(NAMES, replace(SHAPE, engine_version="16"), described(), at_once=True) == {}


def test_a_change_of_type_brings_its_iops() -> None:
    wanted = replace(SHAPE, storage_type="io2", iops=3000)
    found = described(Iops=3000)
    assert differences(NAMES, wanted, found, at_once=True) == {"StorageType": "io2", "Iops": 3000}
