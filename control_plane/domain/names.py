"""How things are named in databases. Names come from ids, so that a renamed company keeps its home."""

from __future__ import annotations

from uuid import UUID

SHARED_SCHEMA = "public"
"""Where tenant tables live in pool and silo databases."""


def bridge_schema(tenant_id: UUID) -> str:
    """The schema of a bridge tenant."""
    return f"t_{tenant_id.hex}"


def silo_database(database_id: UUID) -> str:
    """A silo: named by its own id, because it may be made before anybody is to live in it."""
    return f"silo_{database_id.hex}"


def first_login(database: str) -> str:
    """The app's first login of a database."""
    return database


def second_login(database: str) -> str:
    """The one that takes turns with the first."""
    return f"{database}_b"


def other_login(database: str, login: str) -> str:
    """Of a database's two logins, the one that `login` is not."""
    return second_login(database) if login == first_login(database) else first_login(database)


def shared_database(kind: str, number: int) -> str:
    """The n-th pool or bridge database."""
    return f"{kind}_{number}"


def template_database(revision: str) -> str:
    """The database that silos of that state of the chains are copied from."""
    return f"template_{revision}"
