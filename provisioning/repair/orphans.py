"""What belongs to something that the roll knows, and what to nothing: by its name and its place. Pure."""

from __future__ import annotations

import re
from uuid import UUID

from control_plane.domain.tenant import Status
from control_plane.registry.workflows import ERASE, REOPEN
from provisioning.repair.facts import Known, KnownDatabase, KnownTenant

OF_A_MOVE = re.compile(r"(?:mv|un)_([0-9a-f]{32})")
_ID = re.compile(r"[0-9a-f]{32}")


def is_on_the_roll(known: Known, server: str, name: str) -> bool:
    """Whether a database of that name there belongs to something that the roll knows.

    So does that of a tenant whose home has not been chosen yet.
    """
    if known.database(server, name) is not None:
        return True
    return _awaits_home(known, name)


def is_orphan_schema(known: Known, database: KnownDatabase, schema: str) -> bool:
    """Whether no home on the roll is in that schema, or will be."""
    if schema in database.schemas or any(
        (home.database_id, home.schema) == (database.id, schema) for home in known.homes
    ):
        return False
    return not _awaits_home(known, schema)


def is_orphan_login(known: Known, server: str, role: str) -> bool:
    """Whether no database on the roll is reached with that login, or will be."""
    if any(each.server == server and role in each.logins for each in known.databases):
        return False
    name = database_of(role)
    return known.database(server, name) is not None or not is_on_the_roll(known, server, name)


def is_of_a_move(known: Known, name: str) -> bool:
    """Whether a slot or publication belongs to a move that goes on, or may be taken back."""
    return named_after(name) in known.moving


def is_unfinished(tenant: KnownTenant) -> bool:
    """Whether the tenant waits for a workflow that nobody goes on with."""
    if tenant.going_on:
        return False
    half_closed = tenant.status is Status.CLOSING and tenant.workflow in {ERASE, REOPEN}
    return half_closed or tenant.status in {Status.PROVISIONING, Status.FAILED}


def database_of(role: str) -> str:
    """The database that a login of the platform's is named after."""
    return role.removesuffix("_b")


def named_after(name: str) -> UUID | None:
    """The id in a name of the platform's."""
    found = _ID.search(name)
    return UUID(found[0]) if found else None


def _awaits_home(known: Known, name: str) -> bool:
    tenant_id = named_after(name)
    tenant = known.tenants.get(tenant_id) if tenant_id is not None else None
    return tenant is not None and tenant.status in {Status.PROVISIONING, Status.FAILED}
