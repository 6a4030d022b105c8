"""The roles of a server and what its databases take away from everybody."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, LiteralString

import psycopg
from psycopg import sql

SUPERUSER = "postgres"
OWNER, MIGRATOR, MOVER, BACKUP = "copyhold_owner", "copyhold_migrator", "copyhold_mover", "copyhold_backup"

Connection = psycopg.Connection[Any]

_ROLES: tuple[tuple[str, LiteralString], ...] = (
    (OWNER, "NOLOGIN"),
    (MIGRATOR, "LOGIN BYPASSRLS"),
    (MOVER, "LOGIN REPLICATION BYPASSRLS"),
    (BACKUP, "LOGIN BYPASSRLS"),
)

STATEMENT_TIMEOUT_S = 15
IDLE_TIMEOUT_S = 30

# What the app's login could use against its neighbours in one server: reading their statements (context tokens stand in
# them), ending their sessions, holding the locks that fences rely on, large objects (shared by role), the WAL.
# Functions of these names, in all their forms, and these views are taken from PUBLIC in every database.
TAKEN_FUNCTIONS = (
    "pg_stat_get_activity",
    "pg_stat_get_backend_activity",
    "pg_lock_status",
    "pg_cancel_backend",
    "pg_terminate_backend",
    "pg_logical_emit_message",
    "pg_export_snapshot",
    "pg_notify",
    "loread",
    "lowrite",
)
TAKEN_PATTERN = "^(pg_advisory_|pg_try_advisory_|lo_)"
TAKEN_VIEWS = ("pg_stat_activity", "pg_locks")

_HARDEN = sql.SQL(
    """
DO $$
DECLARE
    taken record;
BEGIN
    FOR taken IN
        SELECT p.oid::regprocedure AS name FROM pg_proc p
         WHERE p.pronamespace = 'pg_catalog'::regnamespace AND (p.proname = ANY ({functions}) OR p.proname ~ {pattern})
    LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', taken.name);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO copyhold_owner, copyhold_migrator, copyhold_mover', taken.name);
    END LOOP;
END
$$
"""
).format(
    functions=sql.Literal(list(TAKEN_FUNCTIONS)),
    pattern=sql.Literal(TAKEN_PATTERN),
)

# A leakproof function that is cheap is called before the policy: "body >= 'm'" then sees every tenant's rows, and
# whether it ever held shows, e.g. by an error further on in the same WHERE. From 10 times the cost of an operator on it
# comes after ("= ANY" of one element counts half). Plans do not change by it: index conditions do not pay it.
LEAKPROOF_COST = 30

_POLICY_FIRST = sql.SQL(
    """
DO $$
DECLARE
    leakproof regprocedure;
BEGIN
    FOR leakproof IN
        SELECT oid FROM pg_proc
         WHERE proleakproof AND prokind = 'f' AND procost < {cost} AND pronamespace = 'pg_catalog'::regnamespace
    LOOP
        EXECUTE format('ALTER FUNCTION %s COST {cost}', leakproof);
    END LOOP;
END
$$
"""
).format(cost=sql.Literal(LEAKPROOF_COST))


_CLOSED = sql.SQL(
    "REVOKE ALL ON SCHEMA public FROM PUBLIC; GRANT ALL ON SCHEMA public TO copyhold_owner WITH GRANT OPTION"
)
# Without DO, a statement that was slipped in cannot catch the cancel that ends it and go on. Who administers a server
# without being its superuser is a member of the owner, and looks after sessions.
_CATALOGUE: tuple[sql.Composed, ...] = (
    _HARDEN,
    _POLICY_FIRST,
    *(
        sql.SQL("REVOKE ALL ON {0} FROM PUBLIC; GRANT SELECT ON {0} TO copyhold_owner").format(
            sql.Identifier("pg_catalog", view)
        )
        for view in TAKEN_VIEWS
    ),
    sql.SQL(
        "REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC;"
        " GRANT USAGE ON LANGUAGE plpgsql TO copyhold_owner, copyhold_migrator, copyhold_mover"
    ).format(),
)


_DROP_TEMPLATES = """\
SELECT format(word, datname)
  FROM pg_database, unnest(ARRAY['ALTER DATABASE %I IS_TEMPLATE false', 'DROP DATABASE %I']) AS word
 WHERE datname ~ '^template_h[0-9a-z]+_[0-9a-z]+$' ORDER BY datname, word \\gexec"""


def connect(dsn: str) -> Connection:
    """A direct connection in autocommit; use it as a context manager."""
    return psycopg.connect(dsn, autocommit=True, prepare_threshold=None)


def prepare_server(connection: Connection) -> None:
    """Make the platform's roles on a server and close its own databases; safe to repeat.

    Without a superuser nothing is done: its roles are then made by whoever runs it, see providers/existing.
    """
    if not is_superuser(connection):
        return
    for name, attributes in _ROLES:
        if not role_exists(connection, name):
            connection.execute(sql.SQL("CREATE ROLE {} {}").format(sql.Identifier(name), sql.SQL(attributes)))
    connection.execute(
        "GRANT copyhold_owner TO copyhold_migrator, copyhold_mover; GRANT pg_read_all_data TO copyhold_backup;"
        " GRANT SET ON PARAMETER session_replication_role TO copyhold_mover;"
        " REVOKE CONNECT, TEMPORARY ON DATABASE postgres, template1 FROM PUBLIC"
    )


def restrict_database(connection: Connection, name: str) -> None:
    """Let into a database only the platform's roles. A copy does not inherit this from its template. Repeatable."""
    database = sql.Identifier(name)
    connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))
    connection.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO copyhold_migrator, copyhold_mover").format(database))
    connection.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO copyhold_backup").format(database))
    connection.execute(sql.SQL("GRANT CREATE ON DATABASE {} TO copyhold_owner").format(database))


def harden_catalogue(connection: Connection) -> None:
    """Take from PUBLIC, in the connection's database, what tenants could use against each other. Copies inherit it.

    Who is no superuser can close the schema alone: the rest is then as it was in template1; see `hardening_sql`.
    """
    if not is_superuser(connection):
        # As what its administrator is in it: as itself it would grant by way of the owner, and nothing to the owner.
        with connection.transaction():
            connection.execute("SET LOCAL ROLE pg_database_owner")
            connection.execute(_CLOSED)
        return
    connection.execute(_CLOSED)
    for statement in _CATALOGUE:
        connection.execute(statement)


def hardening_sql(databases: Iterable[str]) -> str:
    """What a superuser has psql run where we are none ourselves: it closes the catalogue of each of those databases.

    With template1 among them, what is made afterwards has it from there; templates of silos that were made before go.
    """
    closed = "\n".join(f"{statement.as_string(None).strip()};" for statement in _CATALOGUE)
    parts = [f"\\connect {sql.Identifier(name).as_string(None)}\n{closed}" for name in databases]
    return "\n".join((*parts, _DROP_TEMPLATES))


def is_superuser(connection: Connection) -> bool:
    """Whether the connection may do everything on its server."""
    return connection.info.parameter_status("is_superuser") == "on"


def ensure_login(connection: Connection, name: str, *, database: str) -> None:
    """An app's login of a database: no attribute, no membership, bounded statements.

    Settings that it has given itself go: PostgreSQL lets every role change its own, and so an SQL injection as well.
    """
    if not role_exists(connection, name):
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name)))
    connection.execute(
        sql.SQL(
            "ALTER ROLE {0} RESET ALL; ALTER ROLE {0} IN DATABASE {1} RESET ALL;"
            " ALTER ROLE {0} SET statement_timeout = {2}; ALTER ROLE {0} SET idle_in_transaction_session_timeout = {3};"
            " GRANT CONNECT ON DATABASE {1} TO {0}"
        ).format(
            sql.Identifier(name),
            sql.Identifier(database),
            sql.Literal(f"{STATEMENT_TIMEOUT_S}s"),
            sql.Literal(f"{IDLE_TIMEOUT_S}s"),
        )
    )


def set_password(connection: Connection, name: str, password: str) -> None:
    """Give a role that password. Only what it is checked with is sent, so that no log of the server can hold it."""
    secret = connection.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256").decode()
    connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(name), sql.Literal(secret)))


def role_exists(connection: Connection, name: str) -> bool:
    """Whether the server has that role."""
    return connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [name]).fetchone() is not None


def database_exists(connection: Connection, name: str) -> bool:
    """Whether the server has that database."""
    return connection.execute("SELECT FROM pg_database WHERE datname = %s", [name]).fetchone() is not None
