"""`copyhold staff …`: the people who may use the control plane."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, TypedDict

import typer

from cli import output
from cli.loading import command_group
from cli.options import DataOption, JsonOption
from cli.wiring import Platform, open_platform
from control_plane.registry import staff
from control_plane.registry.engine import transaction
from control_plane.staff import service
from control_plane.staff.roles import StaffRole

app = command_group()

EmailArgument = Annotated[str, typer.Argument(metavar="EMAIL", help="Their e-mail address.", show_default=False)]


class StaffShown(TypedDict):
    """A member of staff."""

    id: str
    email: str
    role: str


class ListedStaffShown(StaffShown):
    """A member of staff in a list."""

    created_at: datetime


class NewStaffShown(StaffShown):
    """A new member of staff; the token is told this once."""

    token: str


@app.command()
def add(
    email: EmailArgument,
    role: Annotated[
        StaffRole, typer.Option("--role", help="support reads, ops changes tenants and servers, admin makes staff.")
    ] = StaffRole.SUPPORT,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a member of staff and print their token for /admin, this once: only its hash is kept.

    Example: copyhold staff add ann@ourcompany.example --role ops
    """
    with open_platform(data) as platform:
        made = added(platform, email, role)
    if as_json:
        output.print_json(made)
    else:
        output.say(made["token"])
        output.note(f"this is shown once; it is good for {service.TOKEN_LIFE.days} days")


@app.command("list")
def list_(data: DataOption = None, as_json: JsonOption = False) -> None:
    """List staff by address.

    Example: copyhold staff list
    """
    with open_platform(data) as platform:
        found = listed(platform)
    if as_json:
        output.print_json(found)
    elif found:
        output.print_table(
            ("email", "role", "since", "id"),
            [(member["email"], member["role"], member["created_at"], member["id"]) for member in found],
        )
    else:
        output.note("no staff; `copyhold staff add EMAIL --role admin` makes the first")


@app.command()
def remove(email: EmailArgument, data: DataOption = None) -> None:
    """Strike a member of staff. Their tokens and sessions end with this.

    Example: copyhold staff remove ann@ourcompany.example
    """
    with open_platform(data) as platform, transaction(platform.engine) as session:
        service.remove(session, email=email, actor=platform.actor)
    output.say(f"{output.in_line(email)} is no member of staff any more")


def added(platform: Platform, email: str, role: StaffRole) -> NewStaffShown:
    """A new member of staff with a token; EmailError or StaffExistsError."""
    with transaction(platform.engine) as session:
        member = service.add(session, email=email, role=role, actor=platform.actor)
        token = service.issue_token(session, member, actor=platform.actor)
    return NewStaffShown(id=str(member.id), email=member.email, role=str(member.role), token=token)


def listed(platform: Platform) -> list[ListedStaffShown]:
    """Everybody, by address."""
    with transaction(platform.engine) as session:
        return [
            ListedStaffShown(id=str(row.id), email=row.email, role=row.role, created_at=row.created_at)
            for row in staff.all_staff(session)
        ]
