"""What RDS says about an instance, and what that means here. Pure."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from provisioning.providers.base import ProviderError, ServerAddress
from provisioning.providers.rds.names import Names


class State(enum.Enum):
    """What can be done with an instance."""

    ABSENT = "absent"
    BUSY = "busy"
    """It changes by itself; look again."""
    READY = "ready"
    STOPPED = "stopped"
    LEAVING = "leaving"
    BROKEN = "broken"
    """It stays so until somebody does something."""


WORDS = {
    "available": State.READY,
    "storage-optimization": State.READY,
    "stopped": State.STOPPED,
    "deleting": State.LEAVING,
}
_PARAMETERS = "a parameter in its group does not fit; put it back to its default, then restart the instance"
_NETWORK = "its subnets or security groups do not fit (no free address, no DNS, group gone); mend them in the VPC"
_KEY = "RDS cannot use its KMS key: enable the key and let RDS use it; after 7 days only a backup brings the data back"
WHAT_TO_DO = {
    "failed": (
        "AWS could not bring it up; look at its events in RDS, then remove it without a snapshot and add it again, "
        "or restore its last snapshot"
    ),
    "storage-full": "raise storage_gib and modify it; until then it takes no writes",
    "incompatible-parameters": _PARAMETERS,
    "incompatible-network": _NETWORK,
    "incompatible-option-group": "its option group does not fit its version; give it the default one",
    "incompatible-restore": "it could not be restored; remove it without a snapshot, restore another one",
    "incompatible-credentials": "the secret of its master password cannot be read; restore the secret and its KMS key",
    "incompatible-create": "AWS cannot make it with these settings; remove it, change its shape, and add it again",
    "insufficient-capacity": "AWS has none of that class there; choose another instance class, or wait",
    "inaccessible-encryption-credentials": _KEY,
    "inaccessible-encryption-credentials-recoverable": _KEY,
    "restore-error": "restoring failed; look at its events in RDS",
}
AFTER_A_LOSS = (
    "restore its last snapshot under this name; or, to begin with an empty one, remove the server here, then add it"
)
NO_LAST_SNAPSHOT = frozenset({"failed", "incompatible-restore", "incompatible-network"})
"""RDS takes no snapshot of an instance in these."""


def state_of(word: str) -> State:
    """What a DBInstanceStatus means; a word that is new to us means that AWS is at work."""
    if word in WHAT_TO_DO or word.startswith("incompatible-"):
        return State.BROKEN
    return WORDS.get(word, State.BUSY)


@dataclass(frozen=True, kw_only=True)
class RdsStatus:
    """One look at a server's instance."""

    instance: str
    state: State
    word: str
    """What AWS calls it: creating, backing-up, available, … or absent."""
    address: ServerAddress | None = None
    """None as long as AWS has not decided."""
    restart_needed: bool = False
    """Parameters wait for a restart: logical replication is not on yet."""
    pending: tuple[str, ...] = ()
    """Changes that wait for the maintenance window, as AWS names them."""
    protected: bool = False
    """Against deletion."""
    resource_id: str = ""
    """AWS's own id of it, never given to another."""
    final_snapshot: str | None = None
    """What `destroy` would call its last snapshot."""
    described: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """All that AWS says of it."""

    def refuse(self) -> None:
        """ProviderError, with what to do, when the instance will not become ready by itself."""
        if self.state is State.ABSENT:
            raise self.error(f"is gone, or was never made; {AFTER_A_LOSS}")
        if self.state is State.LEAVING:
            raise self.error("is being deleted; wait until it is gone, then add the server again")
        if self.state is State.BROKEN:
            todo = WHAT_TO_DO.get(self.word, "look at its events in RDS, which say what does not fit")
            raise self.error(f"is {self.word}: {todo}")

    def error(self, said: str) -> ProviderError:
        """A ProviderError about this instance."""
        return ProviderError(f"RDS instance {self.instance} {said}", instance=self.instance, state=self.word)


def absent(names: Names) -> RdsStatus:
    """The status of what is not there."""
    return RdsStatus(instance=names.instance, state=State.ABSENT, word="absent")


def read_status(names: Names, found: Mapping[str, Any]) -> RdsStatus:
    """The status in an answer of DescribeDBInstances."""
    word, endpoint = found["DBInstanceStatus"], found.get("Endpoint", {})
    known = "Address" in endpoint and "Port" in endpoint
    groups = found.get("DBParameterGroups", [])
    return RdsStatus(
        instance=names.instance,
        state=state_of(word),
        word=word,
        address=ServerAddress(host=endpoint["Address"], port=endpoint["Port"]) if known else None,
        restart_needed=any(group.get("ParameterApplyStatus") == "pending-reboot" for group in groups),
        pending=tuple(sorted(found.get("PendingModifiedValues", {}))),
        protected=found.get("DeletionProtection", False),
        resource_id=found["DbiResourceId"],
        final_snapshot=names.final_snapshot(found["DbiResourceId"]),
        described=found,
    )
