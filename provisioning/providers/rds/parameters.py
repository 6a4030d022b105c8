"""The parameter group of an instance: logical replication, TLS only, no statements of tenants in logs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from provisioning.providers.rds.aws import Account, AwsError, pages
from provisioning.providers.rds.names import Names

AT_RESTART = {
    "rds.logical_replication": "1",
    "max_replication_slots": "60",
    "max_wal_senders": "30",
}
AT_ONCE = {
    "rds.force_ssl": "1",
    "password_encryption": "scram-sha-256",
    "max_slot_wal_keep_size": "4096",
    "log_statement": "none",
    "log_min_duration_statement": "-1",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}
"""Slots keep at most 4 GB: a forgotten one must not fill the disk. A log line has neither statement nor DETAIL."""


@dataclass(frozen=True, kw_only=True)
class ParameterGroup:
    """One server's parameter group."""

    names: Names
    account: Account

    def ensure(self, family: str) -> None:
        """Make it, or put its parameters right; those that somebody added are left alone."""
        found = self._found()
        if found is not None and found["DBParameterGroupFamily"] != family:
            self.delete()  # left by a try with another version; RDS would not delete one that is in use
            found = None
        if found is None:
            self._create(family)
        if different := self._different():
            self.account.call(
                "rds",
                "modify_db_parameter_group",
                DBParameterGroupName=self.names.parameter_group,
                Parameters=different,
            )

    def check_ours(self) -> None:
        """ProviderError when there is one of that name that is somebody else's."""
        self._found()

    def delete(self) -> bool:
        """Whether it is gone: False while AWS still counts it as used."""
        if self._found() is None:
            return True
        try:
            self.account.call("rds", "delete_db_parameter_group", DBParameterGroupName=self.names.parameter_group)
        except AwsError as error:
            if error.reason in {"InvalidDBParameterGroupState", "InvalidDBParameterGroupStateFault"}:
                return False
            if not _is_missing(error):
                raise
        return True

    def _found(self) -> dict[str, Any] | None:
        try:
            groups = self.account.call(
                "rds", "describe_db_parameter_groups", DBParameterGroupName=self.names.parameter_group
            )["DBParameterGroups"]
        except AwsError as error:
            if _is_missing(error):
                return None
            raise
        if not groups:
            return None
        tags = self.account.call("rds", "list_tags_for_resource", ResourceName=groups[0]["DBParameterGroupArn"])
        self.names.claim(f"the parameter group {self.names.parameter_group}", tags["TagList"])
        found: dict[str, Any] = groups[0]
        return found

    def _create(self, family: str) -> None:
        try:
            self.account.call(
                "rds",
                "create_db_parameter_group",
                DBParameterGroupName=self.names.parameter_group,
                DBParameterGroupFamily=family,
                Description=f"Copyhold server {self.names.server}",
                Tags=self.names.tags,
            )
        except AwsError as error:
            if error.reason != "DBParameterGroupAlreadyExists":  # an earlier try, whose answer was lost
                raise

    def _different(self) -> list[dict[str, str]]:
        set_now = {
            parameter["ParameterName"]: parameter.get("ParameterValue")
            for parameter in pages(
                self.account,
                "rds",
                "describe_db_parameters",
                "Parameters",
                DBParameterGroupName=self.names.parameter_group,
                Source="user",
            )
        }
        return [
            {"ParameterName": name, "ParameterValue": value, "ApplyMethod": method}
            for wanted, method in ((AT_RESTART, "pending-reboot"), (AT_ONCE, "immediate"))
            for name, value in wanted.items()
            if set_now.get(name) != value
        ]


def _is_missing(error: AwsError) -> bool:
    return error.reason in {"DBParameterGroupNotFound", "DBParameterGroupNotFoundFault"}
