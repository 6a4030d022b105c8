"""Changing an instance to its shape: only what differs, and only when AWS is not at work on it."""

from __future__ import annotations

from dataclasses import dataclass

from control_plane.domain.rds import RdsShape
from provisioning.providers.rds.instance import Instance
from provisioning.providers.rds.requests import check_adoptable, differences
from provisioning.providers.rds.states import RdsStatus, State
from provisioning.providers.rds.waiting import Wait


@dataclass(frozen=True, kw_only=True)
class Change:
    """One change of one instance."""

    instance: Instance
    shape: RdsShape
    wait: Wait
    at_once: bool

    def run(self) -> tuple[str, ...]:
        """What AWS was asked to change, as AWS names it; ProviderError when the instance cannot be changed now."""
        asked: set[str] = set()
        for seen in self.wait.looks():
            if seen.state in (State.ABSENT, State.LEAVING):
                seen.refuse()
            if seen.state is State.STOPPED:
                raise seen.error("is stopped: AWS changes nothing of it; start it first")
            if seen.state is not State.BUSY and self._ask(seen, asked):
                break
        return tuple(sorted(asked))

    def _ask(self, seen: RdsStatus, asked: set[str]) -> bool:
        """Whether AWS has taken it all; False when it began to work on the instance meanwhile."""
        check_adoptable(self.instance.names, self.shape, seen.described)
        different = differences(self.instance.names, self.shape, seen.described, at_once=self.at_once)
        asked.update(different)
        return not different or self.instance.ask("modify_db_instance", ApplyImmediately=self.at_once, **different)
