"""Which code runs here, for people who compare processes."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import version
from pathlib import Path

ROOMS = ("cli", "control_plane", "migrations", "provisioning", "tenant_app")


@cache
def code_version() -> str:
    """The package's version and eight digits of a sum over its sources: equal wherever the same code runs.

    Reads some two hundred files once a process, in 10 ms.
    """
    digest = hashlib.sha256()
    root = Path(__file__).parents[1]
    for path in sorted(path for room in ROOMS for path in (root / room).rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return f"{version('copyhold')}+{digest.hexdigest()[:8]}"
