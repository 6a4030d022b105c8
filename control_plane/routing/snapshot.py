"""The whole roll as the road holds it: in memory as one immutable value, on disk as one signed file.

The file lets an API process start, and serve known tenants, while the control database is away. It holds no secret in
the clear: keys are hashes, credentials are sealed. Its signature keeps whoever can write there from adding a tenant.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import UUID

from control_plane.domain.errors import SetupError
from control_plane.domain.route import ApiKey, Home, Role, Route
from control_plane.domain.tenant import Model, Plan, Status
from control_plane.keyring import Keyring

_FORMAT = 1
_PURPOSE = "snapshot"
SHUT_OUT = frozenset({Status.SUSPENDED, Status.CLOSING, Status.CLOSED})


class SnapshotError(SetupError):
    """The roll's snapshot on disk cannot be used."""


@dataclass(frozen=True, kw_only=True)
class RollSnapshot:
    """Every tenant at one version of the roll; `taken_at` is Unix seconds."""

    version: int
    taken_at: float
    by_id: Mapping[UUID, Route] = field(default_factory=dict)
    by_slug: Mapping[str, Route] = field(default_factory=dict)
    awaited: tuple[Route, ...] = ()
    """Those that are about to lead to another home."""

    @classmethod
    def of(cls, routes: Iterable[Route], version: int) -> RollSnapshot:
        """A snapshot of exactly these routes."""
        by_id = {route.tenant_id: route for route in routes}
        return cls._indexed(by_id, version, by_id.values())

    @classmethod
    def _indexed(cls, by_id: dict[UUID, Route], version: int, maybe_awaited: Iterable[Route]) -> RollSnapshot:
        live = {route.slug: route for route in by_id.values()}
        return cls(
            version=version,
            taken_at=time.time(),
            by_id=MappingProxyType(by_id),
            by_slug=MappingProxyType(live),
            awaited=tuple(route for route in maybe_awaited if route.next_home is not None),
        )

    def changed(self, routes: Iterable[Route], version: int) -> RollSnapshot:
        """This snapshot with those tenants as they are now."""
        new = {route.tenant_id: route for route in routes}
        still = [route for route in self.awaited if route.tenant_id not in new]
        return self._indexed({**self.by_id, **new}, version, [*still, *new.values()])

    def shuts_out(self, before: RollSnapshot) -> bool:
        """Whether somebody is refused here for good, or until further notice, who was not in `before`."""
        return any(
            route.status in SHUT_OUT and (old is None or old.status not in SHUT_OUT)
            for tenant_id, route in self.by_id.items()
            if (old := before.by_id.get(tenant_id)) is not route
        )


EMPTY = RollSnapshot(version=-1, taken_at=0.0)


def save(snapshot: RollSnapshot, path: Path, keyring: Keyring) -> None:
    """Write the snapshot so that a reader sees the old file or the new one, never half of one."""
    routes = ", ".join([route.as_json for route in snapshot.by_id.values()])
    facts = f'"format": {_FORMAT}, "version": {snapshot.version}, "taken_at": {snapshot.taken_at!r}'
    body = f'{{{facts}, "routes": [{routes}]}}'.encode()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_suffix(f".{os.getpid()}.new")
    with temporary.open("wb") as file:
        file.write(keyring.mac(_PURPOSE, body).hex().encode() + b"\n" + body)
        file.flush()
        os.fsync(file.fileno())
    temporary.chmod(0o600)
    temporary.replace(path)


def load(path: Path, keyring: Keyring) -> RollSnapshot:
    """The snapshot at `path`; SnapshotError when it is missing, was changed, or is of another master key."""
    try:
        mac, _, body = path.read_bytes().partition(b"\n")
    except OSError as error:
        raise SnapshotError(f"{path} cannot be read: {error.strerror}") from error
    if not _is_ours(mac, body, keyring):
        raise SnapshotError(f"{path} is not a snapshot of this platform: its signature does not hold")
    document = json.loads(body)
    try:
        known = document["format"] == _FORMAT
        routes = [_route(row) for row in document["routes"]] if known else []
    except (KeyError, TypeError, ValueError):
        known = False  # it is ours, so that what does not fit is of another time
    if not known:
        raise SnapshotError(f"{path} was written by another version of Copyhold")
    by_id = {route.tenant_id: route for route in routes}
    by_slug = {route.slug: route for route in routes}
    return RollSnapshot(version=document["version"], taken_at=document["taken_at"], by_id=by_id, by_slug=by_slug)


def _is_ours(mac: bytes, body: bytes, keyring: Keyring) -> bool:
    try:
        return keyring.vouches(_PURPOSE, body, bytes.fromhex(mac.decode("ascii")))
    except ValueError:
        return False


def _route(row: dict[str, Any]) -> Route:
    home = row["home"]
    return Route(
        tenant_id=UUID(row["tenant_id"]),
        slug=row["slug"],
        name=row["name"],
        plan=Plan(row["plan"]),
        model=Model(row["model"]),
        status=Status(row["status"]),
        epoch=row["epoch"],
        revision=row["revision"],
        needs=row.get("needs"),  # not in a file that an older version wrote
        home=Home(**{**home, "database_id": UUID(home["database_id"])}) if home else None,
        keys=tuple(
            ApiKey(**{**key, "id": UUID(key["id"]), "role": Role(key["role"]), "scopes": tuple(key["scopes"])})
            for key in row["keys"]
        ),
    )
