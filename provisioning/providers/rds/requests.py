"""What AWS is asked for: a new instance, and only the differences of one that exists. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from control_plane.domain.rds import PORT, RdsShape, version_of
from provisioning.providers.base import ProviderError
from provisioning.providers.rds.master import MasterLogin
from provisioning.providers.rds.names import Names


def creation(names: Names, shape: RdsShape, master: MasterLogin) -> dict[str, Any]:
    """The arguments of CreateDBInstance. They hold the master password: pass them on, never print them."""
    wanted: dict[str, Any] = {
        "DBInstanceIdentifier": names.instance,
        "Engine": "postgres",
        "EngineVersion": shape.engine_version,
        "Port": PORT,
        "MasterUsername": master.user,
        "MasterUserPassword": master.password,
        "StorageEncrypted": True,
        "DBSubnetGroupName": shape.subnet_group,
        "EnablePerformanceInsights": False,  # it keeps the text of statements
        "AutoMinorVersionUpgrade": True,
        "Tags": names.tags,
        **changeable(names, shape),
    }
    return wanted | ({"KmsKeyId": shape.kms_key} if shape.kms_key else {})


def changeable(names: Names, shape: RdsShape) -> dict[str, Any]:
    """What can be changed later too, named as CreateDBInstance and ModifyDBInstance name it."""
    wanted = {
        "DBInstanceClass": shape.instance_class,
        "AllocatedStorage": shape.storage_gib,
        "StorageType": shape.storage_type,
        "MultiAZ": shape.multi_az,
        "VpcSecurityGroupIds": list(shape.security_groups),
        "BackupRetentionPeriod": shape.backup_retention_days,
        "DeletionProtection": shape.deletion_protection,
        "DBParameterGroupName": names.parameter_group,
        "CopyTagsToSnapshot": True,
        "PubliclyAccessible": False,
    }
    return wanted | ({"Iops": shape.iops} if shape.iops is not None else {})


def check_adoptable(names: Names, shape: RdsShape, found: Mapping[str, Any]) -> None:
    """ProviderError when an instance differs in what AWS cannot change in place."""
    actual = version_of(found["EngineVersion"])
    subnets = found.get("DBSubnetGroup", {}).get("DBSubnetGroupName")
    for differs, said in (
        (found["Engine"] != "postgres", f"runs {found['Engine']}, not postgres"),
        (not found.get("StorageEncrypted", False), "is not encrypted, and cannot be afterwards"),
        (actual[:1] != shape.version[:1], f"runs PostgreSQL {found['EngineVersion']}, not {shape.engine_version}"),
        (subnets != shape.subnet_group, f"is in the subnet group {subnets}, not {shape.subnet_group}"),
    ):
        if differs:
            raise ProviderError(
                f"RDS instance {names.instance} {said}; that is not changed in place: add another server and move the "
                "tenants, or correct the shape"
            )


def differences(names: Names, shape: RdsShape, found: Mapping[str, Any], *, at_once: bool) -> dict[str, Any]:
    """What ModifyDBInstance has to be told; empty when the instance is as wanted.

    Storage only grows and a version only rises: what is larger or newer already stays. A change that waits for the
    maintenance window counts as made, unless it is to happen at once.
    """
    actual = _actual(found) | ({} if at_once else dict(found.get("PendingModifiedValues", {})))
    wanted = changeable(names, shape)
    different = {name: value for name, value in wanted.items() if not _is_met(name, value, actual.get(name))}
    if len(shape.version) > 1 and version_of(actual["EngineVersion"]) < shape.version:
        different["EngineVersion"] = shape.engine_version
    if "StorageType" in different and shape.iops is not None:
        different["Iops"] = shape.iops
    return different


def _actual(found: Mapping[str, Any]) -> dict[str, Any]:
    groups = [group["DBParameterGroupName"] for group in found.get("DBParameterGroups", [])]
    return {
        **found,
        "VpcSecurityGroupIds": [group["VpcSecurityGroupId"] for group in found.get("VpcSecurityGroups", [])],
        "DBParameterGroupName": groups[0] if groups else None,
    }


def _is_met(name: str, wanted: Any, actual: Any) -> bool:
    if name == "VpcSecurityGroupIds":
        return set(wanted) == set(actual)
    if name == "AllocatedStorage":
        return bool(actual >= wanted)
    return bool(wanted == actual)
