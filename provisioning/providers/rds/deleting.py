"""Deleting an instance: whatever an earlier try has done already, go on from there."""

from __future__ import annotations

from dataclasses import dataclass

from provisioning.providers.rds.instance import Instance
from provisioning.providers.rds.states import NO_LAST_SNAPSHOT, RdsStatus, State
from provisioning.providers.rds.waiting import Wait


@dataclass(frozen=True, kw_only=True)
class Deletion:
    """One deletion of one instance."""

    instance: Instance
    wait: Wait
    confirmed: bool
    final_snapshot: bool

    def run(self) -> None:
        """Return once it is gone; ProviderError, with nothing changed, when this may not be done."""
        for seen in self.wait.looks():
            if self.go_on(seen):
                return

    def go_on(self, seen: RdsStatus) -> bool:
        """Do what the instance's state allows next; whether it is gone. ProviderError as `run` has it."""
        if seen.state in (State.ABSENT, State.LEAVING):
            return seen.state is State.ABSENT
        self._check(seen)
        if seen.protected:
            self._unprotect(seen)
        elif seen.state is not State.BUSY:
            self._delete(seen)
        return False

    def _check(self, seen: RdsStatus) -> None:
        if not self.confirmed and (seen.protected or not self.final_snapshot):
            why = "is protected against deletion" if seen.protected else "would be deleted without a last snapshot"
            raise seen.error(f"{why}; confirm with its name, {seen.instance}, if its data may go")
        if self.final_snapshot and seen.word in NO_LAST_SNAPSHOT:
            raise seen.error(
                f"is {seen.word}: RDS takes no snapshot of it; remove it with --no-snapshot (snapshot=false)"
            )

    def _unprotect(self, seen: RdsStatus) -> None:
        if seen.state is State.STOPPED:
            self.instance.ask("start_db_instance")  # RDS changes nothing of an instance that is stopped
        else:
            self.instance.ask("modify_db_instance", DeletionProtection=False, ApplyImmediately=True)

    def _delete(self, seen: RdsStatus) -> None:
        last = {"FinalDBSnapshotIdentifier": seen.final_snapshot} if self.final_snapshot else {}
        self.instance.ask(
            "delete_db_instance",
            SkipFinalSnapshot=not self.final_snapshot,
            DeleteAutomatedBackups=True,
            **last,
        )
