"""One RDS instance, found by its name and known by its tags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from provisioning.providers.rds.aws import Account, AwsError
from provisioning.providers.rds.names import Names
from provisioning.providers.rds.states import RdsStatus, absent, read_status

MISSING = frozenset({"DBInstanceNotFound", "DBInstanceNotFoundFault"})
NOT_NOW = frozenset({"InvalidDBInstanceState", "InvalidDBInstanceStateFault"})


@dataclass(frozen=True, kw_only=True)
class Instance:
    """What is asked of AWS about one instance. Somebody else's is refused with ProviderError, whatever is asked."""

    names: Names
    account: Account

    def status(self) -> RdsStatus:
        """One look."""
        try:
            answer = self.account.call("rds", "describe_db_instances", DBInstanceIdentifier=self.names.instance)
        except AwsError as error:
            if error.reason in MISSING:
                return absent(self.names)
            raise
        found: dict[str, Any] = answer["DBInstances"][0]
        self.names.claim(f"the RDS instance {self.names.instance}", found.get("TagList", []))
        return read_status(self.names, found)

    def ask(self, operation: str, **arguments: Any) -> bool:
        """Call an operation on it: False when its state does not allow that now, or it is gone; the next look tells."""
        try:
            self.account.call("rds", operation, DBInstanceIdentifier=self.names.instance, **arguments)
        except AwsError as error:
            if error.reason not in NOT_NOW | MISSING:
                raise
            return False
        return True
