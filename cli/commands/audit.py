"""`copyhold audit …`: who did what to whom."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, TypedDict

import typer

from cli import output
from cli.loading import command_group
from cli.options import DataOption, JsonOption
from cli.wiring import Platform, open_platform
from control_plane import audit
from control_plane.registry import tenants
from control_plane.registry.engine import transaction

LIMIT = 50

app = command_group()


class EntryShown(TypedDict):
    """One entry of the audit log."""

    id: str
    at: datetime
    actor: str
    action: str
    subject: str
    tenant_id: str | None
    facts: dict[str, Any]


@app.command("list")
def list_(
    tenant: Annotated[
        str | None, typer.Option("--tenant", metavar="TENANT", help="Only what was done to it (slug or id).")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="How many at most.")] = LIMIT,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the newest entries of the audit log, newest first.

    Commands are entered as cli:USER: the user who logged in, also behind sudo; where nobody logged in, whoever ran
    sudo, else the user of the process.

    Example: copyhold audit list --tenant globex --limit 20
    """
    with open_platform(data) as platform:
        found = newest(platform, tenant, limit)
    if as_json:
        output.print_json(found)
    else:
        output.print_table(
            ("at", "actor", "action", "subject", "facts"),
            [(row["at"], row["actor"], row["action"], row["subject"], _facts(row["facts"])) for row in found],
        )


def newest(platform: Platform, tenant: str | None, limit: int) -> list[EntryShown]:
    """The newest entries, of one tenant or of all; UnknownTenantError when there is no such tenant."""
    with transaction(platform.engine) as session:
        tenant_id = tenants.find(session, tenant).id if tenant is not None else None
        return [
            EntryShown(
                id=str(row.id),
                at=row.at,
                actor=row.actor,
                action=row.action,
                subject=row.subject,
                tenant_id=str(row.tenant_id) if row.tenant_id else None,
                facts=row.facts,
            )
            for row in audit.newest(session, limit=limit, tenant_id=tenant_id)
        ]


def _facts(facts: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in facts.items())
