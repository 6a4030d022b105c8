"""Looking at a server that others run, as its administrator. Reads only; every wait is short."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, LiteralString

import psycopg

from control_plane.domain.server import Server, ServerStatus
from control_plane.doors import Doors, NoDoorError
from provisioning.doctor.settings import OLDEST_MAJOR, SETTINGS
from provisioning.providers.existing.address import Address
from provisioning.providers.existing.facts import LOGINS, PLATFORM_ROLES, Facts, RoleFacts, Trouble
from provisioning.providers.existing.reaching import obstacle
from provisioning.roles import MOVER, Connection, connect

DATABASE = "postgres"
STATEMENT_TIMEOUT_S = 10
ALSO = ("max_replication_slots", "max_wal_senders", "password_encryption", "default_transaction_read_only")
_ROLES = """
SELECT r.rolname, r.rolcanlogin, r.rolsuper, r.rolcreatedb, r.rolcreaterole, r.rolreplication, r.rolbypassrls,
       r.rolconnlimit,
       ARRAY(SELECT o.rolname::text FROM pg_roles o
              WHERE o.oid <> r.oid AND NOT r.rolsuper AND pg_has_role(r.oid, o.oid, 'MEMBER')),
       ARRAY(SELECT o.rolname::text FROM pg_roles o
              WHERE o.oid <> r.oid AND NOT r.rolsuper AND pg_has_role(r.oid, o.oid, 'MEMBER WITH ADMIN OPTION'))
  FROM pg_roles r WHERE r.rolname = ANY (%s)
"""
_ABOVE = """
SELECT rolname::text FROM pg_roles
 WHERE rolcanlogin AND (rolsuper OR rolbypassrls) AND rolname <> ALL (%s) ORDER BY rolname
"""
_OPEN = """
SELECT datname::text FROM pg_database d
 WHERE datallowconn AND EXISTS (SELECT FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
                                 WHERE a.grantee = 0 AND a.privilege_type = 'CONNECT')
 ORDER BY datname
"""
_TEMPLATE = "SELECT pg_encoding_to_char(encoding), datcollate FROM pg_database WHERE datname = 'template1'"
_LOAD = """
SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()),
       (SELECT coalesce(sum(pg_database_size(oid)), 0)::bigint FROM pg_database
         WHERE has_database_privilege(oid, 'CONNECT'))
"""
_REPLICA = "SELECT has_parameter_privilege(%s, 'session_replication_role', 'SET')"


@dataclass(frozen=True, kw_only=True)
class Access:
    """How the administrator of a server gets in, and the platform's own logins once they are there."""

    address: Address
    ca: str
    """PEM; empty for the authorities that this machine believes."""
    password: str = field(repr=False)
    doors: Doors
    role_passwords: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What the platform's logins have, or are to have."""

    @property
    def server(self) -> Server:
        """The same as a server that is not on the roll."""
        return Server(
            name="examined",
            provider="existing",
            region="-",
            host=self.address.host,
            port=self.address.port,
            models=(),
            capacity=0,
            connections=0,
            status=ServerStatus.ADDING,
            admin=self.address.admin,
            ca=self.ca,
        )

    def dsn(self, role: str, password: str) -> str:
        """The way in for a role, by the door that everything else will take. It holds the password."""
        return self.doors.dsn(self.server, DATABASE, role, password)


def examine(access: Access) -> Facts:
    """All that can be found out; what keeps the administrator out is a fact like others, never an error."""
    if (trouble := obstacle(access.address, access.ca)) is not None:
        return Facts(address=access.address, trouble=trouble)
    try:
        with connect(access.dsn(access.address.admin, access.password)) as connection:
            connection.execute(f"SET statement_timeout = '{STATEMENT_TIMEOUT_S}s'")
            return _looked(connection, access)
    except (psycopg.Error, NoDoorError) as error:
        return Facts(address=access.address, trouble=_kept_out(access.address, error))


def _looked(connection: Connection, access: Access) -> Facts:
    names = ("server_version_num", *SETTINGS, *ALSO)
    settings = dict(connection.execute("SELECT name, setting FROM pg_settings WHERE name = ANY (%s)", [list(names)]))
    version = int(settings["server_version_num"])
    if version < OLDEST_MAJOR * 10_000:
        return Facts(address=access.address, version=version, settings=settings)
    roles = _roles(connection, (access.address.admin, *PLATFORM_ROLES))
    encoding, locale = _row(connection, _TEMPLATE)
    sessions, used = _row(connection, _LOAD)
    return Facts(
        address=access.address,
        version=version,
        settings=settings,
        standby=_row(connection, "SELECT pg_is_in_recovery()")[0],
        roles=roles,
        refused=_refused(access, (each for each in LOGINS if each in roles)),
        above=_column(connection, _ABOVE, [[access.address.admin, *PLATFORM_ROLES]]),
        open_databases=_column(connection, _OPEN),
        encoding=encoding,
        locale=locale,
        replica_role=MOVER not in roles or connection.execute(_REPLICA, [MOVER]).fetchone() == (True,),
        connections=sessions,
        used_bytes=used,
    )


def _roles(connection: Connection, names: Iterable[str]) -> dict[str, RoleFacts]:
    return {
        name: RoleFacts(
            login=login,
            superuser=superuser,
            createdb=createdb,
            createrole=createrole,
            replication=replication,
            bypassrls=bypassrls,
            connection_limit=limit,
            member_of=frozenset(member_of),
            admin_of=frozenset(admin_of),
        )
        for name, login, superuser, createdb, createrole, replication, bypassrls, limit, member_of, admin_of in (
            connection.execute(_ROLES, [list(names)]).fetchall()
        )
    }


def _refused(access: Access, roles: Iterable[str]) -> dict[str, str]:
    """Tried by logging in: that alone tells whether the password and the server's rules are right."""
    found = {}
    for role in roles:
        try:
            connect(access.dsn(role, access.role_passwords.get(role, ""))).close()
        except psycopg.Error as error:
            # It was let in as far as the database, which it need not enter.
            if "permission denied for database" not in _said(error):
                found[role] = _said(error)
    return found


def _kept_out(address: Address, error: psycopg.Error | NoDoorError) -> Trouble:
    said = _said(error)
    if isinstance(error, NoDoorError):
        remedy = "give the certificates of whoever signs the server's own: --ca FILE"
        return Trouble(what="certificate", why=said, remedy=remedy)
    if "password authentication failed" in said:
        remedy = f"give the password of {address.admin}; as its superuser: ALTER ROLE {address.admin} PASSWORD '…'"
    elif "pg_hba.conf" in said:
        remedy = f"let it in by pg_hba.conf: hostssl all all <this machine>/32 scram-sha-256 ({address.admin} included)"
    elif "authentication" in said or "SASL" in said:
        remedy = "have it ask for SCRAM: password_encryption = 'scram-sha-256', then set the password anew"
    elif isinstance(error, psycopg.errors.QueryCanceled):
        remedy = f"it is too slow to be looked at: statements take more than {STATEMENT_TIMEOUT_S} s"
    else:
        remedy = "as the server's log says"
    return Trouble(what="login", why=f"{address.admin} does not get in: {said}", remedy=remedy)


def _said(error: Exception) -> str:
    """The telling line of a driver's message, which holds no password."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if "FATAL:" in line or "ERROR:" in line]
    return (told or lines or [type(error).__name__])[0].rpartition("FATAL:")[2].strip()


def _row(connection: Connection, query: LiteralString) -> tuple[Any, ...]:
    found = connection.execute(query).fetchone()
    assert found is not None
    return tuple(found)


def _column(connection: Connection, query: LiteralString, values: list[object] | None = None) -> tuple[str, ...]:
    return tuple(name for (name,) in connection.execute(query, values).fetchall())
