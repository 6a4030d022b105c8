"""Servers for tests of pure decisions."""

from __future__ import annotations

from control_plane.domain.server import Server, ServerStatus
from control_plane.domain.tenant import Model


def server(
    name: str,
    *,
    models: tuple[Model, ...] = tuple(Model),
    region: str = "eu",
    capacity: int = 10,
    connections: int = 100,
    status: ServerStatus = ServerStatus.ACTIVE,
    labels: tuple[str, ...] = (),
    capacity_bytes: int | None = None,
    used_bytes: int | None = None,
    capacity_per_minute: int | None = None,
    per_minute: int | None = None,
    host: str = "/nonexistent",
) -> Server:
    """A server that takes everything, unless told otherwise."""
    return Server(
        name=name,
        provider="local",
        region=region,
        host=host,
        port=5432,
        models=models,
        capacity=capacity,
        connections=connections,
        status=status,
        labels=labels,
        capacity_bytes=capacity_bytes,
        used_bytes=used_bytes,
        capacity_per_minute=capacity_per_minute,
        per_minute=per_minute,
    )
