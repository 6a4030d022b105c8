"""What is left of a tenant that was closed, and what its neighbours have."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import text

from control_plane.domain.tenant import Model, Status
from control_plane.registry import tenants
from control_plane.registry.engine import transaction
from control_plane.registry.tables import TenantRow
from control_plane.registry.workflows import Workflows
from control_plane.tenants import closing
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest
from tests.pooler import calls
from tests.provisioning.homes import SERVERS
from tests.provisioning.wishes import NoWorkflows
from tests.service_user import as_service_user

A_WHILE, AT_ONCE = timedelta(hours=1), timedelta(0)
CONVERSATIONS = 3
NOBODY = NoWorkflows()
"""Starts nothing: the test is the worker."""
MODELS = pytest.mark.parametrize("model", Model, ids=str)
TABLES = ("users", "sessions", "conversations", "messages")
ROLL = """
SELECT 'tenant', status, name = slug AND labels = '{}' AND closed_at IS NOT NULL AND failure IS NULL
  FROM tenants WHERE id = :id
 UNION ALL SELECT 'home', state, NULL FROM homes WHERE tenant_id = :id
 UNION ALL SELECT 'route', NULL, NULL FROM routes WHERE tenant_id = :id
 UNION ALL SELECT 'key', NULL, NULL FROM api_keys WHERE tenant_id = :id
 UNION ALL SELECT 'owner', email, NULL FROM pending_owners WHERE tenant_id = :id
 UNION ALL SELECT 'target', schema, NULL FROM targets WHERE database_id = :database AND schema = :schema
                                                       AND schema <> 'public' OR database_id = :silo
 UNION ALL SELECT 'database', state, sealed_password IS NULL FROM databases WHERE id = :silo
"""
TOMBSTONE = [("home", "left", None), ("tenant", "closed", True)]


@dataclass(frozen=True)
class Place:
    """Where a tenant lives, remembered for when the roll has forgotten it."""

    server: str
    database_id: UUID
    database: str
    login: str
    schema: str


def place_of(tenant: TenantUnderTest) -> Place:
    """Where it lives now."""
    home = tenant.route.home
    assert home is not None
    return Place(SERVERS[tenant.model], home.database_id, home.database, home.login, home.schema)


def close(tenant: TenantUnderTest, workflows: Workflows, *, grace: timedelta = A_WHILE, export: bool = False) -> None:
    """Close it, on behalf of the tests."""
    with transaction(tenant.platform.engine) as session:
        row = tenants.get(session, tenant.id, lock=True)
        closing.close(session, workflows, row, "tests", grace=grace, export=export)


def reopen(tenant: TenantUnderTest, workflows: Workflows) -> None:
    """Have it back, on behalf of the tests."""
    with transaction(tenant.platform.engine) as session:
        closing.reopen(session, workflows, tenants.get(session, tenant.id, lock=True), "tests")


def row_of(tenant: TenantUnderTest) -> TenantRow:
    """As the roll has it."""
    with transaction(tenant.platform.engine) as session:
        return tenants.get(session, tenant.id)


def fence_of(tenant: TenantUnderTest) -> str | None:
    """Its state; None without one."""
    with tenant.platform.home_of(tenant) as home:
        row = home.execute("SELECT state FROM tenancy.fences WHERE tenant_id = %s", [tenant.id]).fetchone()
    return str(row[0]) if row else None


def rows_of(tenant: TenantUnderTest) -> dict[str, Any]:
    """By table, how many rows it has and a sum of them."""
    with tenant.platform.home_of(tenant) as home:
        return {table: _counted(home, table, tenant.id) for table in TABLES}


def left_of(platform: PlatformUnderTest, tenant_id: UUID, model: Model, place: Place) -> list[tuple[Any, ...]]:
    """All that there is of it: on the roll, on its server, in what it shared with others, at the pooler."""
    silo = place.database_id if model is Model.SILO else None
    values = {"id": tenant_id, "database": place.database_id, "schema": place.schema, "silo": silo}
    with transaction(platform.engine) as session:
        found = [tuple(row) for row in session.execute(text(ROLL), values)]
    if model is Model.SILO:
        found += _left_of_a_silo(platform, place)
    else:
        with platform.superuser(place.server, place.database) as home:
            found += [("fence", str(row[0]), None) for row in _fence(home, tenant_id)]
            named = "SELECT 'schema', nspname, NULL FROM pg_namespace WHERE nspname = %s"
            found += home.execute(named, [f"t_{tenant_id.hex}"]).fetchall()
            if model is Model.POOL:
                counts = {table: _counted(home, table, tenant_id)[0] for table in TABLES}
                found += [("rows", table, count) for table, count in counts.items() if count]
    return sorted(found, key=repr)


def _left_of_a_silo(platform: PlatformUnderTest, place: Place) -> list[tuple[Any, ...]]:
    with platform.superuser(place.server, "postgres") as admin:
        found = admin.execute("SELECT 'database', datname FROM pg_database WHERE datname = %s", [place.database])
        left = found.fetchall()
        like = f"{place.database}%"
        left += admin.execute("SELECT 'role', rolname FROM pg_roles WHERE rolname LIKE %s", [like]).fetchall()
    known = as_service_user(platform.data, calls.console, platform.settings, "SHOW DATABASES")
    left += [("pooler", row["name"]) for row in known if place.database in {row["name"], row["database"]}]
    written = (platform.settings.pooler_dir / "databases.ini").read_text()
    return left + [("pooler file", place.database)] * (place.database in written)


def _fence(home: psycopg.Connection[Any], tenant_id: UUID) -> list[tuple[Any, ...]]:
    return home.execute("SELECT state FROM tenancy.fences WHERE tenant_id = %s", [tenant_id]).fetchall()


def _counted(home: psycopg.Connection[Any], table: str, tenant_id: UUID) -> tuple[int, str]:
    query = psycopg.sql.SQL(
        "SELECT count(*), coalesce(md5(string_agg(t::text, '' ORDER BY id)), '') FROM {} t WHERE tenant_id = %s"
    ).format(psycopg.sql.Identifier(table))
    row = home.execute(query, [tenant_id]).fetchone()
    assert row is not None
    return int(row[0]), str(row[1])


def with_things(platform: PlatformUnderTest, model: Model) -> TenantUnderTest:
    """A tenant that has used its inbox."""
    tenant = platform.tenant(model)
    for number in range(CONVERSATIONS):
        made = tenant.http.post("/api/conversations", json={"subject": f"Subject {number}"})
        assert made.status_code == 201
        said = tenant.http.post(f"/api/conversations/{made.json()['id']}/messages", json={"body": "Hello"})
        assert said.status_code == 201
    return tenant


def tombstone(model: Model) -> list[tuple[object, ...]]:
    """All that may be left of a tenant of that model."""
    silo = [("database", "gone", True)] if model is Model.SILO else []
    return sorted([*TOMBSTONE, *silo], key=repr)


def refused(tenant: TenantUnderTest) -> str | None:
    """The code of the refusal; None when it is served."""
    answer = tenant.http.get("/api/me")
    return None if answer.status_code == 200 else str(answer.json()["code"])


def with_status(tenant: TenantUnderTest, status: Status) -> None:
    """Put it there by hand, past all rules."""
    with transaction(tenant.platform.engine) as session:
        session.get_one(TenantRow, tenant.id).status = str(status)
