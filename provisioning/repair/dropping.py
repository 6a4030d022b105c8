"""Dropping what nobody on the roll has. Whoever calls these has made sure of that, and keeps it so meanwhile."""

from __future__ import annotations

from uuid import UUID

from psycopg import sql

from control_plane.domain.errors import ConflictError
from control_plane.domain.names import SHARED_SCHEMA
from control_plane.domain.server import Server
from provisioning import erasing
from provisioning.doctor.catalogue import look_into
from provisioning.estate import Estate
from provisioning.repair import counting
from provisioning.roles import OWNER, Connection, database_exists, is_superuser, role_exists

LOCK_TIMEOUT_S = 10

_DATABASES_OF_A_ROLE = """
SELECT DISTINCT d.datname
  FROM pg_shdepend s JOIN pg_roles r ON r.oid = s.refobjid AND r.rolname = %s
  JOIN pg_database d ON d.oid = s.dbid OR (s.dbid = 0 AND d.datname = 'postgres')
 WHERE s.refclassid = 'pg_authid'::regclass AND d.datallowconn
"""
_LOGINS = "SELECT to_regclass('tenancy.logins') IS NOT NULL"
_LET_AT_PUBLIC = """
SELECT FROM pg_namespace, aclexplode(nspacl) AS given
 WHERE nspname = 'public' AND given.grantee = (SELECT oid FROM pg_roles WHERE rolname = %s)
"""


class StillThereError(ConflictError):
    """Something else has to go first."""

    code = "repair_still_there"


def drop_database(estate: Estate, server: Server, name: str) -> None:
    """Gone afterwards. PostgreSQL refuses, after a few seconds, while anybody is connected or a slot is in it."""
    with estate.builder(server).admin() as admin:
        admin.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)))


def refuse_while_there(estate: Estate, server: Server, database: str) -> None:
    """StillThereError while the server has that database."""
    with estate.builder(server).admin() as admin:
        if database_exists(admin, database):
            raise StillThereError(f"the database {database} goes first")


def drop_role(estate: Estate, server: Server, role: str, *, with_belongings: bool) -> None:
    """Gone afterwards, its grants with it. StillThereError when it owns something that must not go."""
    builder = estate.builder(server)
    with builder.admin() as admin:
        if not role_exists(admin, role):
            return
        for (database,) in admin.execute(_DATABASES_OF_A_ROLE, [role]).fetchall():
            with builder.admin(database) as inside:
                _patiently(inside)
                if not with_belongings and _owns(inside, role):
                    raise StillThereError(f"{role} owns things in {database}")
                if inside.execute(_LOGINS).fetchone() == (True,):
                    inside.execute("DELETE FROM tenancy.logins WHERE name = %s", [role])
                disown(inside, role)
        admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def disown(connection: Connection, role: str) -> None:
    """Take from a role what it has been granted in the connection's database and on shared objects, and what it owns.

    In the caller's transaction, where there is one.
    """
    named, owner = sql.Identifier(role), sql.Identifier(OWNER)
    # DROP OWNED takes back what an object's owner has granted; what the platform's owner passed on, it alone can. Even
    # to revoke nothing writes the row, and of two who do so at once, in a database that all share, one fails.
    if connection.execute(_LET_AT_PUBLIC, [role]).fetchone() is not None:
        connection.execute(sql.SQL("SET ROLE {}").format(owner))
        connection.execute(sql.SQL("REVOKE ALL ON SCHEMA public FROM {}").format(named))
        connection.execute("RESET ROLE")
    dropped = sql.SQL("DROP OWNED BY {}").format(named)
    if is_superuser(connection):
        connection.execute(dropped)
        return
    connection.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(named))
    connection.execute(dropped)
    connection.execute(sql.SQL("REVOKE {} FROM CURRENT_USER").format(named))


def drop_slot(estate: Estate, server: Server, name: str) -> None:
    """Gone afterwards; PostgreSQL refuses while somebody reads it."""
    with estate.builder(server).admin() as admin:
        admin.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s", [name]
        )


def drop_publication(estate: Estate, server: Server, database: str, name: str) -> None:
    """Gone afterwards."""
    with estate.builder(server).admin(database) as admin:
        _patiently(admin)
        admin.execute(sql.SQL("DROP PUBLICATION IF EXISTS {}").format(sql.Identifier(name)))


def close_template(estate: Estate, server: Server, template: str) -> None:
    """It holds no signing key afterwards, and nobody can enter it."""
    builder = estate.builder(server)
    with builder.admin(template) as inside:
        if inside.execute("SELECT to_regclass('tenancy.keys') IS NOT NULL").fetchone() == (True,):
            inside.execute("DELETE FROM tenancy.keys")
    with builder.admin() as admin:
        admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(sql.Identifier(template)))


def drop_fence(estate: Estate, server: Server, database: str, tenant_id: UUID) -> None:
    """Take away the fence of a tenant who has no rows in the shared schema; StillThereError when he has."""
    with look_into(estate.doors, server, database) as connection:
        if number := counting.rows(connection, schemas=[SHARED_SCHEMA], tenant_id=tenant_id):
            raise StillThereError(f"there are {number} rows of {tenant_id}")
    erasing.drop_fence(estate.doors, server, database, tenant_id)


def _owns(connection: Connection, role: str) -> bool:
    query = """
    SELECT FROM pg_shdepend s JOIN pg_roles r ON r.oid = s.refobjid AND r.rolname = %s
     WHERE s.refclassid = 'pg_authid'::regclass AND s.deptype = 'o'
       AND s.dbid IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
    """
    return connection.execute(query, [role]).fetchone() is not None


def _patiently(connection: Connection) -> None:
    connection.execute(sql.SQL("SET lock_timeout = {}").format(sql.Literal(f"{LOCK_TIMEOUT_S}s")))
