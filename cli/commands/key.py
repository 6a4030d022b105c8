"""`copyhold key …`: API keys of tenants."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, TypedDict
from uuid import UUID

import typer

from cli import output
from cli.loading import command_group
from cli.options import DataOption, JsonOption
from cli.wiring import Platform, open_platform
from control_plane.domain.errors import UsageError
from control_plane.domain.ids import parse_id
from control_plane.domain.route import Role
from control_plane.registry import keys, tenants
from control_plane.registry.engine import transaction
from control_plane.registry.tables import ApiKeyRow
from control_plane.tenants import service

app = command_group()

TenantArgument = Annotated[str, typer.Argument(metavar="TENANT", help="Its slug or id.", show_default=False)]


class KeyShown(TypedDict):
    """A key, without its secret."""

    id: str
    tenant_id: str
    name: str
    role: str
    scopes: list[str]
    created_at: datetime
    revoked_at: datetime | None


class NewKeyShown(KeyShown):
    """A new key; its text is told this once."""

    key: str


@app.command()
def create(
    tenant: TenantArgument,
    role: Annotated[Role, typer.Option("--role", help="What it may do: as much as a person of that role.")] = (
        Role.MEMBER
    ),
    name: Annotated[str | None, typer.Option("--name", help="What it acts as.", show_default="its role")] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", help="read or write; may be given again.", show_default="all that its role may"),
    ] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make an API key and print it, this once: only its hash is kept.

    \b
    Example: copyhold key create globex --role admin --name importer
    Example: KEY=$(copyhold key create globex --scope read)
    """
    with open_platform(data) as platform:
        made = new_key(platform, tenant, role=role, name=name or f"{role} key", scopes=scope or [])
    if as_json:
        output.print_json(made)
    else:
        output.say(made["key"])
        output.note(f"this is shown once; to revoke it: copyhold key revoke {made['id']}")


@app.command("list")
def list_(tenant: TenantArgument, data: DataOption = None, as_json: JsonOption = False) -> None:
    """List a tenant's API keys, revoked ones too, oldest first.

    Example: copyhold key list globex
    """
    with open_platform(data) as platform:
        found = keys_of(platform, tenant)
    if as_json:
        output.print_json(found)
    elif found:
        output.print_table(
            ("id", "name", "role", "scopes", "created", "revoked"),
            [
                (key["id"], key["name"], key["role"], key["scopes"] or "all", key["created_at"], key["revoked_at"])
                for key in found
            ],
        )
    else:
        output.note("no keys")


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="KEY_ID", help="As `key list` shows it.", show_default=False)],
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make an API key worthless from now on. Once revoked it stays so; doing it again is fine.

    Example: copyhold key revoke 01932c07-a0de-7cc2-a6f4-5cc4f0d8e1b2
    """
    wanted = parse_id(key_id)
    if wanted is None:
        raise UsageError("a key is revoked by its id, which `copyhold key list TENANT` shows")
    with open_platform(data) as platform:
        revoked = revoked_key(platform, wanted)
    if as_json:
        output.print_json(revoked)
    else:
        output.say(f"{output.in_line(revoked['name'])} is revoked")


def new_key(platform: Platform, tenant: str, *, role: Role, name: str, scopes: list[str]) -> NewKeyShown:
    """A new key of the tenant; InvalidError for an unknown scope."""
    with transaction(platform.engine) as session:
        row = tenants.find(session, tenant)
        key, text = service.create_key(session, row, name=name, role=role, scopes=scopes, actor=platform.actor)
        return NewKeyShown(**_shown(key), key=text)


def keys_of(platform: Platform, tenant: str) -> list[KeyShown]:
    """Every key of the tenant, oldest first."""
    with transaction(platform.engine) as session:
        return [_shown(key) for key in keys.of_tenant(session, tenants.find(session, tenant).id)]


def revoked_key(platform: Platform, key_id: UUID) -> KeyShown:
    """The key, worthless now; NotFoundError when there is none of that id."""
    with transaction(platform.engine) as session:
        key = service.revoke_key(session, key_id, platform.actor)
        session.refresh(key)
        return _shown(key)


def _shown(key: ApiKeyRow) -> KeyShown:
    return KeyShown(
        id=str(key.id),
        tenant_id=str(key.tenant_id),
        name=key.name,
        role=key.role,
        scopes=list(key.scopes),
        created_at=key.created_at,
        revoked_at=key.revoked_at,
    )
