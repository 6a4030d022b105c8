"""Commands that are told to a person: each can be typed as it stands."""

from __future__ import annotations

import shlex
from pathlib import Path


def as_typed(command: str, data: Path | None) -> str:
    """The command with its data folder, ready to be typed into a shell: a folder's name may have blanks."""
    return command + (f" --data {shlex.quote(str(data))}" if data else "")
