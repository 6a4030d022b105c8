"""The work behind `copyhold server add --provider rds`, `server modify` and what `server show` says of an instance."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any, Required, TypedDict

from cli import joining
from cli.wiring import Platform
from control_plane import audit
from control_plane.domain.errors import UsageError
from control_plane.domain.rds import RdsShape
from control_plane.domain.server import Server
from control_plane.registry import servers
from control_plane.registry.engine import transaction
from control_plane.tenants.joining import RDS, check_free, join
from provisioning.instances import provider_of
from provisioning.providers.base import ProviderError
from provisioning.providers.rds.provider import RdsProvider
from provisioning.providers.rds.states import RdsStatus

QUICK_TRIES = 2
"""Of a call for somebody who waits for the answer to be printed."""


class InstanceShown(TypedDict, total=False):
    """What AWS says of an instance; what it did not say is left out."""

    instance: Required[str]
    state: Required[str]
    why: str
    """Why nothing is known."""
    size: str
    version: str
    endpoint: str
    protected: bool
    pending: list[str]
    """Changes that wait for the maintenance window, as AWS names them."""
    final_snapshot: str
    """What its last snapshot would be called."""


class NoInstanceError(UsageError):
    """That server is no RDS instance."""


def read_shape(file: Path) -> dict[str, Any]:
    """The fields of RdsShape in a JSON or TOML file, checked; UsageError when there are none."""
    text = joining.read_file(file)
    try:
        found = tomllib.loads(text) if file.suffix == ".toml" else json.loads(text)
    except ValueError as error:
        raise UsageError(f"{file} is neither JSON nor, if it ends with .toml, TOML: {error}") from error
    if not isinstance(found, dict):
        raise UsageError(f"{file} has no fields")
    RdsShape.of(found)
    return found


def what_would_be_made(platform: Platform, wish: Server) -> dict[str, Any]:
    """Names in AWS and the shape, nothing made; ServerTakenError or ProviderError when something is in the way."""
    with transaction(platform.engine) as session:
        check_free(session, wish)
    provider = provider_of(platform.settings.rds, wish)
    provider.check_free(wish.name)
    names = provider.names(wish.name)
    return {
        "server": wish.name,
        "instance": names.instance,
        "parameter_group": names.parameter_group,
        "secret": names.secret,
        "shape": dict(wish.rds["shape"]),
    }


def add(platform: Platform, wish: Server) -> str | None:
    """Have it made; the workflow's id, None when it is on the roll and ready. Refused as `joining.join` says."""
    with transaction(platform.engine) as session:
        return join(session, platform.workflows, wish, platform.actor)


def seen(platform: Platform, name: str) -> InstanceShown | None:
    """What AWS says of a server's instance, or why it says nothing; None of a server that is no instance."""
    server = _server(platform, name)
    if server.provider != RDS:
        return None
    provider = provider_of(platform.settings.rds.model_copy(update={"tries": QUICK_TRIES}), server)
    try:
        return _shown(provider.status(name))
    except ProviderError as error:
        return InstanceShown(instance=provider.names(name).instance, state="unknown", why=error.message)


def modify(platform: Platform, name: str, shape: dict[str, Any], *, at_once: bool) -> tuple[str, ...]:
    """Keep the shape on the roll and have AWS change what differs; what that is, as AWS names it.

    Waits while AWS is at work on the instance. ProviderError when it cannot be changed so: the roll's shape stays.
    """
    asked = _changed(platform, name, shape).modify(name, at_once=at_once)
    with transaction(platform.engine) as session:
        row = servers.server_row(session, name)
        row.settings = {**row.settings, "rds": {**row.settings["rds"], "shape": shape}}
        audit.record(session, platform.actor, "server.modify", name, asked=list(asked), at_once=at_once)
    return asked


def differences(platform: Platform, name: str, shape: dict[str, Any], *, at_once: bool) -> tuple[str, ...]:
    """What `modify` would ask AWS to change; nothing is changed."""
    return _changed(platform, name, shape).differences(name, at_once=at_once)


def _changed(platform: Platform, name: str, shape: dict[str, Any]) -> RdsProvider:
    server = _server(platform, name)
    if server.provider != RDS:
        raise NoInstanceError(f"{name} is no RDS instance: it is {server.provider}")
    if shape["region"] != server.rds["shape"]["region"]:
        raise UsageError(f"{name} stays in {server.rds['shape']['region']}: add another server and move the tenants")
    return provider_of(platform.settings.rds, replace(server, rds={**server.rds, "shape": shape}))


def _server(platform: Platform, name: str) -> Server:
    with transaction(platform.engine) as session:
        return servers.server_named(session, name)


def _shown(status: RdsStatus) -> InstanceShown:
    at, described = status.address, status.described
    found = InstanceShown(
        instance=status.instance, state=status.word, protected=status.protected, pending=list(status.pending)
    )
    if at is not None:
        found["endpoint"] = f"{at.host}:{at.port}"
    if status.final_snapshot is not None:
        found["final_snapshot"] = status.final_snapshot
        found["size"] = f"{described['DBInstanceClass']}, {described['AllocatedStorage']} GiB"
        found["version"] = described["EngineVersion"]
    return found
