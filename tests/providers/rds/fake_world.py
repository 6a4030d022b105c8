"""What the fake RDS holds, and what each action does to it. Named as RDS names things."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Asked = dict[str, Any]
Result = dict[str, Any]
REGION = "eu-central-1"
ARN = f"arn:aws:rds:{REGION}:123456789012"
PLAIN = (
    "DBInstanceIdentifier",
    "DBInstanceClass",
    "Engine",
    "EngineVersion",
    "MasterUsername",
    "AllocatedStorage",
    "StorageType",
    "Iops",
    "MultiAZ",
    "StorageEncrypted",
    "KmsKeyId",
    "BackupRetentionPeriod",
    "DeletionProtection",
    "CopyTagsToSnapshot",
    "PubliclyAccessible",
    "AutoMinorVersionUpgrade",
)
"""Described as they were asked for."""
IN_THE_WINDOW = frozenset(
    {"DBInstanceClass", "MultiAZ", "AllocatedStorage", "StorageType", "Iops", "EngineVersion", "BackupRetentionPeriod"}
)
NOT_CHANGED_IN = frozenset({"creating", "modifying", "rebooting", "starting", "stopping", "stopped", "deleting"})


class Refusal(Exception):  # noqa: N818 - not an error of ours: an answer
    """RDS says no."""

    def __init__(self, code: str, message: str) -> None:
        self.code, self.message = code, message
        super().__init__(message)


@dataclass(kw_only=True)
class FakeInstance:
    """One instance."""

    asked: dict[str, Any]
    """The arguments of its creation, with later changes."""
    number: int
    status: str = "available"
    has_address: bool = True
    restart_needed: bool = False
    pending: dict[str, Any] = field(default_factory=dict)

    def describe(self) -> dict[str, Any]:
        """As RDS does."""
        name, group = self.asked["DBInstanceIdentifier"], self.asked["DBParameterGroupName"]
        address = {"Address": f"{name}.aaaaaaaaaa.{REGION}.rds.amazonaws.com", "Port": self.asked["Port"]}
        return {
            **{key: self.asked[key] for key in PLAIN if key in self.asked},
            "DBInstanceStatus": self.status,
            "DBInstanceArn": f"{ARN}:db:{name}",
            "DbiResourceId": f"db-FAKE{self.number}",
            "DBSubnetGroup": {"DBSubnetGroupName": self.asked["DBSubnetGroupName"]},
            "VpcSecurityGroups": [
                {"VpcSecurityGroupId": each, "Status": "active"} for each in self.asked["VpcSecurityGroupIds"]
            ],
            "DBParameterGroups": [
                {
                    "DBParameterGroupName": group,
                    "ParameterApplyStatus": "pending-reboot" if self.restart_needed else "in-sync",
                }
            ],
            "PendingModifiedValues": self.pending,
            "TagList": self.asked.get("Tags", []),
            **({"Endpoint": address} if self.has_address else {}),
        }


@dataclass(kw_only=True)
class World:
    """All of one account in one region: a method an action, from its arguments to its result."""

    slow: bool = False
    """Whether a change is seen as under way (creating, deleting …) until `become` ends it."""
    instances: dict[str, FakeInstance] = field(default_factory=dict)
    groups: dict[str, dict[str, Any]] = field(default_factory=dict)
    parameters: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)
    snapshots: dict[str, dict[str, Any]] = field(default_factory=dict)
    made: int = 0

    def become(self, name: str, status: str) -> None:
        """Put an instance into a state; it has an address from the first one after `creating`."""
        instance = self.instances[name]
        instance.status = status
        instance.has_address |= status not in {"creating", "failed"}

    def create_db_instance(self, asked: Asked) -> Result:
        name = asked["DBInstanceIdentifier"]
        if name in self.instances:
            raise Refusal("DBInstanceAlreadyExists", "DB instance already exists")
        self._group(asked)
        self.made += 1
        instance = FakeInstance(asked=asked, number=self.made, has_address=not self.slow)
        self.instances[name] = instance
        return self._changed(instance, "creating", "available")

    def describe_db_instances(self, asked: Asked) -> Result:
        return {"DBInstances": [self._instance(asked).describe()]}

    def modify_db_instance(self, asked: Asked) -> Result:
        instance = self._changeable(asked)
        at_once = asked.get("ApplyImmediately", False)
        for name in asked.keys() - {"DBInstanceIdentifier", "ApplyImmediately"}:
            if at_once or name not in IN_THE_WINDOW:
                instance.asked[name] = asked[name]
                instance.pending.pop(name, None)
            else:
                instance.pending[name] = asked[name]
        return self._changed(instance, "modifying", instance.status)

    def delete_db_instance(self, asked: Asked) -> Result:
        instance = self._instance(asked)
        if instance.asked.get("DeletionProtection"):
            raise Refusal("InvalidParameterCombination", "Cannot delete protected DB Instance")
        if instance.status in {"creating", "deleting"}:
            raise Refusal("InvalidDBInstanceState", f"it is {instance.status}")
        if "FinalDBSnapshotIdentifier" in asked:
            self._snapshot(asked["FinalDBSnapshotIdentifier"], instance)
        if not self.slow:
            del self.instances[asked["DBInstanceIdentifier"]]
        return self._changed(instance, "deleting", "deleting")

    def start_db_instance(self, asked: Asked) -> Result:
        return self._changed(self._being(asked, "stopped"), "starting", "available")

    def stop_db_instance(self, asked: Asked) -> Result:
        return self._changed(self._being(asked, "available"), "stopping", "stopped")

    def reboot_db_instance(self, asked: Asked) -> Result:
        instance = self._being(asked, "available")
        instance.restart_needed = False
        return self._changed(instance, "rebooting", "available")

    def describe_db_snapshots(self, asked: Asked) -> Result:
        name = asked["DBSnapshotIdentifier"]
        if name not in self.snapshots:
            raise Refusal("DBSnapshotNotFound", f"DBSnapshot {name} not found.")
        return {"DBSnapshots": [self.snapshots[name]]}

    def create_db_parameter_group(self, asked: Asked) -> Result:
        name = asked["DBParameterGroupName"]
        if name in self.groups:
            raise Refusal("DBParameterGroupAlreadyExists", f"{name} already exists.")
        self.groups[name] = asked
        self.parameters[name] = {}
        return {"DBParameterGroup": self._described_group(asked)}

    def describe_db_parameter_groups(self, asked: Asked) -> Result:
        return {"DBParameterGroups": [self._described_group(self._group(asked))]}

    def list_tags_for_resource(self, asked: Asked) -> Result:
        for name, group in self.groups.items():
            if asked["ResourceName"] == f"{ARN}:pg:{name}":
                return {"TagList": group.get("Tags", [])}
        raise Refusal("DBParameterGroupNotFound", asked["ResourceName"])

    def modify_db_parameter_group(self, asked: Asked) -> Result:
        name = self._group(asked)["DBParameterGroupName"]
        for parameter in asked["Parameters"]:
            self.parameters[name][parameter["ParameterName"]] = parameter
        return {"DBParameterGroupName": name}

    def describe_db_parameters(self, asked: Asked) -> Result:
        name = self._group(asked)["DBParameterGroupName"]
        return {"Parameters": list(self.parameters[name].values())}

    def delete_db_parameter_group(self, asked: Asked) -> Result:
        name = self._group(asked)["DBParameterGroupName"]
        if any(each.asked["DBParameterGroupName"] == name for each in self.instances.values()):
            raise Refusal("InvalidDBParameterGroupState", "it is in use")
        del self.groups[name], self.parameters[name]
        return {}

    def _changed(self, instance: FakeInstance, meanwhile: str, afterwards: str) -> Result:
        instance.status = meanwhile if self.slow else afterwards
        return {"DBInstance": instance.describe()}

    def _instance(self, asked: Asked) -> FakeInstance:
        name = asked["DBInstanceIdentifier"]
        if name not in self.instances:
            raise Refusal("DBInstanceNotFound", f"DBInstance {name} not found.")
        return self.instances[name]

    def _changeable(self, asked: Asked) -> FakeInstance:
        instance = self._instance(asked)
        if instance.status in NOT_CHANGED_IN:
            raise Refusal("InvalidDBInstanceState", f"it is {instance.status}")
        return instance

    def _being(self, asked: Asked, status: str) -> FakeInstance:
        instance = self._instance(asked)
        if instance.status != status:
            raise Refusal("InvalidDBInstanceState", f"it is {instance.status}, not {status}")
        return instance

    def _group(self, asked: Asked) -> dict[str, Any]:
        name = asked["DBParameterGroupName"]
        if name not in self.groups:
            raise Refusal("DBParameterGroupNotFound", f"DBParameterGroup not found: {name}")
        return self.groups[name]

    def _described_group(self, asked: Asked) -> Result:
        arn = f"{ARN}:pg:{asked['DBParameterGroupName']}"
        return {name: value for name, value in asked.items() if name != "Tags"} | {"DBParameterGroupArn": arn}

    def _snapshot(self, name: str, instance: FakeInstance) -> None:
        if name in self.snapshots:
            raise Refusal("DBSnapshotAlreadyExists", f"{name} already exists")
        self.snapshots[name] = {
            "DBSnapshotIdentifier": name,
            "DBInstanceIdentifier": instance.asked["DBInstanceIdentifier"],
            "Status": "available",
            "TagList": instance.asked.get("Tags", []) if instance.asked.get("CopyTagsToSnapshot") else [],
        }
