"""Runs commands as a shell would: in a process of their own, which may become another user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.forking import Running, Said, start_command


@dataclass(frozen=True)
class Shell:
    """Runs commands on the platform in `data`, if one is named."""

    data: Path | None = None

    def __call__(self, *arguments: str) -> Said:
        """Run a command to its end."""
        return self.start(*arguments).ended()

    def start(self, *arguments: str, variables: Mapping[str, str] | None = None) -> Running:
        """Start a command; `variables` are set in its environment."""
        where = () if self.data is None else ("--data", str(self.data))
        return start_command(*arguments, *where, variables=variables)
