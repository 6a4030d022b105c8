"""Everything that there is of one tenant: on the roll, on its server, in its database."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import psycopg
from sqlalchemy import text

from control_plane.domain.tenant import Model
from control_plane.registry import servers, tenants
from control_plane.registry.engine import transaction
from tests.platform_under_test import PlatformUnderTest

# Where the ids of the tenant and its silo would stand, there are stars: so that one can be compared with another.
ROLL = """
SELECT 'tenant', status, failure FROM tenants WHERE id = :id
 UNION ALL SELECT 'owner', email, NULL FROM pending_owners WHERE tenant_id = :id
 UNION ALL SELECT 'home', h.model || '/' || h.state || '/' || d.server || '/' || d.name, h.schema
             FROM homes h JOIN databases d ON d.id = h.database_id WHERE h.tenant_id = :id
 UNION ALL SELECT 'route', r.epoch::text, (r.home_id = h.id)::text
             FROM routes r JOIN homes h USING (tenant_id) WHERE r.tenant_id = :id
 UNION ALL SELECT 'target', d.name || '/' || t.schema, t.revision
             FROM targets t JOIN databases d ON d.id = t.database_id JOIN homes h
               ON (h.database_id, h.schema) = (t.database_id, t.schema) WHERE h.tenant_id = :id
 UNION ALL SELECT 'database', d.name || '/' || d.alias || '/' || d.login || '/' || d.state, d.home_revision
             FROM databases d JOIN homes h ON h.database_id = d.id WHERE h.tenant_id = :id
 UNION ALL SELECT 'audit', action, NULL FROM audit_log WHERE tenant_id = :id
"""
SERVER = """
SELECT 'database', datname, (datallowconn AND NOT datistemplate)::text FROM pg_database WHERE datname LIKE %(like)s
 UNION ALL SELECT 'role', rolname, concat_ws(' ', rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin,
                                             rolreplication, rolbypassrls, rolconnlimit, rolvaliduntil)
             FROM pg_roles WHERE rolname LIKE %(like)s
 UNION ALL SELECT 'member', roleid::regrole::text, member::regrole::text
             FROM pg_auth_members WHERE member::regrole::text LIKE %(like)s OR roleid::regrole::text LIKE %(like)s
"""
HOME = """
SELECT 'schema', nspname, nspowner::regrole::text FROM pg_namespace WHERE nspname LIKE %(like)s
 UNION ALL SELECT 'fence', epoch::text, state FROM tenancy.fences WHERE tenant_id = %(id)s
 UNION ALL SELECT 'key', count(*)::text, NULL FROM tenancy.keys
 UNION ALL SELECT 'login', name, NULL FROM tenancy.logins
 UNION ALL SELECT 'version', version_num, NULL FROM tenancy.alembic_version
"""
TABLES = """
SELECT 'user', email, role FROM users WHERE tenant_id = %(id)s
 UNION ALL SELECT 'version', version_num, NULL FROM alembic_version
 UNION ALL SELECT 'table', tablename, tableowner FROM pg_tables WHERE schemaname = current_schema()
"""
SERVERS = {Model.POOL: "alpha", Model.BRIDGE: "alpha", Model.SILO: "beta"}


def everything_of(platform: PlatformUnderTest, tenant_id: UUID, model: Model) -> list[tuple[Any, ...]]:
    """All that there is of a tenant that has a home, with stars for its ids: the same for any two of one model."""
    with transaction(platform.engine) as session:
        place = tenants.current_home(session, tenant_id)
        assert place is not None
        database = servers.database(session, place.database_id).name
        own = place.database_id if model is Model.SILO else tenant_id
        values = {"id": tenant_id, "like": f"%{own.hex}%"}
        found = [tuple(row) for row in session.execute(text(ROLL), values)]
        slug = session.execute(text("SELECT slug FROM tenants WHERE id = :id"), values).scalar_one()
    schema = f"t_{tenant_id.hex}" if model is Model.BRIDGE else "public"
    for server in ("alpha", "beta"):
        with platform.superuser(server, "postgres") as admin:
            found += admin.execute(SERVER, values).fetchall()
    with platform.superuser(SERVERS[model], database) as home:
        found += home.execute(HOME, values).fetchall()
        home.execute(psycopg.sql.SQL("SET search_path = {}").format(psycopg.sql.Identifier(schema)))
        found += home.execute(TABLES, values).fetchall()
    starred = [tuple(_starred(part, tenant_id.hex, own.hex, slug) for part in row) for row in found]
    return sorted(starred, key=repr)


def _starred(part: Any, *names: str) -> Any:
    for name in names:
        part = part.replace(name, "*") if isinstance(part, str) else part
    return part
