"""The provider of local clusters, called in a process of the user that may run PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from provisioning.providers.local import ClusterShape, LocalProvider

SHAPE = ClusterShape(port=6101, max_connections=20, shared_buffers_mb=16)


def local_provider(folder: Path) -> LocalProvider:
    """One that knows a server `acme` in that folder."""
    (folder / "logs").mkdir(exist_ok=True)
    return LocalProvider(servers=folder / "servers", sockets=folder, logs=folder / "logs", shapes={"acme": SHAPE})


def call(folder: Path, method: str, name: str) -> Any:
    """What that method of it returns."""
    return getattr(local_provider(folder), method)(name)
