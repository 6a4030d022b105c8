"""How things of a tenant are named in databases. Names come from ids, so that a renamed company keeps its home."""

from __future__ import annotations

from uuid import UUID

SHARED_SCHEMA = "public"
"""Where tenant tables live in pool and silo databases."""


def bridge_schema(tenant_id: UUID) -> str:
    """The schema of a bridge tenant."""
    return f"t_{tenant_id.hex}"


def silo_database(tenant_id: UUID) -> str:
    """The database of a silo tenant; its app login has the same name."""
    return f"silo_{tenant_id.hex}"


def shared_database(kind: str, number: int) -> str:
    """The n-th pool or bridge database."""
    return f"{kind}_{number}"


def template_database(revision: str) -> str:
    """The database that silos of that state of the chains are copied from."""
    return f"template_{revision}"
