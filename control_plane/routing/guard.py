"""The check, made as the app's own login, that a home keeps tenants apart: once a process and home, before it serves.

It asks little and asks it of the catalogue alone; `copyhold doctor` looks at far more, with other eyes.
"""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from control_plane.routing.refusals import UnsafeHomeError

# What would void the promise: a login that is more than a login, a tenant table without its forced policy.
FINDINGS = text(
    """
    SELECT 'login ' || rolname || ' has attributes it must not have'
      FROM pg_roles
     WHERE rolname = current_user
       AND (rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication)
    UNION ALL
    SELECT 'login ' || current_user || ' is a member of ' || roleid::regrole::text
      FROM pg_auth_members WHERE member = (SELECT oid FROM pg_roles WHERE rolname = current_user)
    UNION ALL
    SELECT 'login ' || current_user || ' owns ' || objid::text
      FROM pg_shdepend
     WHERE refclassid = 'pg_authid'::regclass AND deptype = 'o'
       AND refobjid = (SELECT oid FROM pg_roles WHERE rolname = current_user)
    UNION ALL
    SELECT 'table ' || c.relname || ' does not force row-level security'
      FROM pg_class c
     WHERE c.relnamespace = to_regnamespace(:schema) AND c.relkind IN ('r', 'p')
       AND has_table_privilege(c.oid, 'SELECT, INSERT, UPDATE, DELETE')
       AND NOT (c.relrowsecurity AND c.relforcerowsecurity)
    UNION ALL
    SELECT 'table ' || c.relname || ' has no policy that asks tenancy.current_tenant, or one that does not'
      FROM pg_class c
      LEFT JOIN pg_policy p ON p.polrelid = c.oid
     WHERE c.relnamespace = to_regnamespace(:schema) AND c.relkind IN ('r', 'p')
       AND has_table_privilege(c.oid, 'SELECT, INSERT, UPDATE, DELETE')
       AND (coalesce(pg_get_expr(p.polqual, p.polrelid), ''),
            coalesce(pg_get_expr(p.polwithcheck, p.polrelid), pg_get_expr(p.polqual, p.polrelid), ''))
           <> ('(tenant_id = ( SELECT tenancy.current_tenant() AS current_tenant))',
               '(tenant_id = ( SELECT tenancy.current_tenant() AS current_tenant))')
    """
)


async def check_home(connection: AsyncConnection, schema: str) -> None:
    """UnsafeHomeError, with the findings as its fact, unless the home is as it must be. Reads; needs no context."""
    findings = (await connection.execute(FINDINGS, {"schema": schema})).scalars().all()
    if findings:
        raise UnsafeHomeError(findings=tuple(findings))
