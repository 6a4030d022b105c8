"""Waiting for an instance: look, tell, pause; bounded by a deadline on a given clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from provisioning.providers.base import ProviderError
from provisioning.providers.rds.pace import Pace
from provisioning.providers.rds.states import RdsStatus, State

LOOKS_BEFORE_GONE = 2
"""AWS may miss an instance for a moment right after it was made."""

Progress = Callable[[RdsStatus], None]


@dataclass(frozen=True, kw_only=True)
class Wait:
    """One wait of at most `deadline_s` seconds; `progress` hears of each state when it changes."""

    look: Callable[[], RdsStatus]
    pace: Pace
    deadline_s: float
    progress: Progress = lambda _: None

    def until_ready(self) -> RdsStatus:
        """The status once it is available; ProviderError when it is stopped, gone or broken."""

        def ready(seen: RdsStatus) -> bool:
            if seen.state is State.STOPPED:
                raise seen.error("is stopped; start it")
            return seen.state is State.READY

        return self.until(ready)

    def until(self, fact: Callable[[RdsStatus], bool]) -> RdsStatus:
        """The first status of which `fact` holds; ProviderError for one that does not get better by itself."""
        missed = 0
        for seen in self.looks():
            if seen.state is State.ABSENT:
                missed += 1
                if missed < LOOKS_BEFORE_GONE:
                    continue
            elif fact(seen):
                return seen
            else:
                missed = 0
            seen.refuse()
        raise AssertionError("looks end with an error")

    def looks(self) -> Iterator[RdsStatus]:
        """A status every `poll_s` seconds; ProviderError after the deadline."""
        end, told = self.pace.now() + self.deadline_s, ""
        while True:
            seen = self.look()
            if seen.word != told:
                told = seen.word
                self.progress(seen)
            yield seen
            if self.pace.now() >= end:
                raise seen.error(f"is still {seen.word} after {self.deadline_s:.0f} s; repeat this to go on waiting")
            self.pace.sleep(self.pace.poll_s)

    def repeat(self, done: Callable[[], bool], *, what: str) -> None:
        """Return once `done` says so; ProviderError with `what` after the deadline."""
        end = self.pace.now() + self.deadline_s
        while not done():
            if self.pace.now() >= end:
                raise ProviderError(f"after {self.deadline_s:.0f} s {what}; repeat this to go on")
            self.pace.sleep(self.pace.poll_s)
