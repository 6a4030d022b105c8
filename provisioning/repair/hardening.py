"""Making a home as closed as homes are built now, whatever version built it and whatever has been granted since."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql

from control_plane.domain.errors import ConflictError
from control_plane.domain.server import Server
from provisioning.databases import ADMIT_TIMEOUT_S
from provisioning.estate import Estate
from provisioning.repair.dropping import disown
from provisioning.roles import (
    OWNER,
    Connection,
    ensure_login,
    harden_catalogue,
    is_superuser,
    prepare_server,
    restrict_database,
    role_exists,
)

_OWNS = """
SELECT EXISTS (SELECT FROM pg_shdepend WHERE refclassid = 'pg_authid'::regclass AND deptype = 'o'
                  AND refobjid = (SELECT oid FROM pg_roles WHERE rolname = %s))
"""
_MEMBERSHIPS = """
SELECT roleid::regrole::text, member::regrole::text FROM pg_auth_members
 WHERE (SELECT oid FROM pg_roles WHERE rolname = %s) IN (roleid, member) AND member <> current_user::regrole
"""
_ATTRIBUTES = """
SELECT word
  FROM pg_roles,
       LATERAL (VALUES ('NOSUPERUSER', rolsuper), ('NOBYPASSRLS', rolbypassrls), ('NOCREATEROLE', rolcreaterole),
                       ('NOCREATEDB', rolcreatedb), ('NOREPLICATION', rolreplication)) AS attribute (word, has)
 WHERE rolname = %s AND has
"""
_SCHEMAS = "SELECT nspname FROM pg_namespace WHERE nspname ~ '^(public|tenancy|t_[0-9a-f]{32})$'"
_CLOSED = sql.SQL(
    "REVOKE ALL ON SCHEMA {0} FROM PUBLIC; REVOKE ALL ON ALL TABLES IN SCHEMA {0} FROM PUBLIC;"
    " REVOKE ALL ON ALL FUNCTIONS IN SCHEMA {0} FROM PUBLIC"
)


class OwnsThingsError(ConflictError):
    """The app's login owns something: its grants cannot be made anew before that has another owner."""

    code = "login_owns"


def harden(estate: Estate, server: Server, database: str, logins: Sequence[str]) -> None:
    """Close the database's catalogue, and give its logins anew exactly what they need.

    That is one transaction a login: whoever is served meanwhile sees its grants as they were or as they are to be.
    OwnsThingsError, before anything is changed, where one owns something.
    """
    with estate.builder(server).admin(database) as admin:
        for login in logins:
            if admin.execute(_OWNS, [login]).fetchone() == (True,):
                raise OwnsThingsError
        harden_catalogue(admin)
        if is_superuser(admin):
            admin.execute("REVOKE CREATE ON SCHEMA pg_catalog FROM PUBLIC")
        for (schema,) in admin.execute(_SCHEMAS).fetchall():
            admin.execute(_CLOSED.format(sql.Identifier(schema)))
        for login in logins:
            _admit_anew(admin, database, login)


def prepare(estate: Estate, server: Server) -> None:
    """The platform's own roles on a server as they are made now; nobody else may connect to its databases."""
    with estate.builder(server).admin() as admin:
        prepare_server(admin)
        names = admin.execute(
            "SELECT d.datname FROM pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a"
            " WHERE a.grantee = 0 AND d.datallowconn AND pg_has_role(d.datdba, 'MEMBER')"
        )
        for (name,) in names.fetchall():
            admin.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name)))


def _admit_anew(admin: Connection, database: str, login: str) -> None:
    """As Builder.admit, in the transaction in which all else that the login has is taken from it."""
    with admin.transaction():
        _strip(admin, login)
        restrict_database(admin, database)
        ensure_login(admin, login, database=database)
        waiting = sql.SQL("SET LOCAL ROLE {}; SET LOCAL lock_timeout = {}; LOCK TABLE tenancy.logins")
        admin.execute(waiting.format(sql.Identifier(OWNER), sql.Literal(f"{ADMIT_TIMEOUT_S}s")))
        admin.execute("SELECT tenancy.admit(%s::name)", [login])


def _strip(admin: Connection, login: str) -> None:
    """Take from a login whatever it has been granted here, and what makes it more than a login."""
    if not role_exists(admin, login):
        return
    name = sql.Identifier(login)
    disown(admin, login)
    # Those that it has, and no others: who is no superuser may not so much as name some of them.
    for (attribute,) in admin.execute(_ATTRIBUTES, [login]).fetchall():
        admin.execute(sql.SQL("ALTER ROLE {} {}").format(name, sql.SQL(attribute)))
    for role, member in admin.execute(_MEMBERSHIPS, [login]).fetchall():
        # As regrole writes them: quoted where they need it.
        admin.execute(f"REVOKE {role} FROM {member}".encode())
