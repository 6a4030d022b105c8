"""Ways in which a target comes to differ from its revision: how, how to undo it, and what must be said of it."""

from __future__ import annotations

from dataclasses import dataclass

THE_POLICY = "USING (tenant_id = (SELECT tenancy.current_tenant()))"
POLICY = f"CREATE POLICY tenant_only ON users {THE_POLICY} WITH CHECK (tenant_id = (SELECT tenancy.current_tenant()))"
MESSAGES = ("messages.messages_tenant_id_author_id_fkey", "messages.messages_tenant_id_conversation_id_fkey")


@dataclass(frozen=True)
class Defect:
    """Statements in a tenant's schema, as a superuser, `{schema}` and `{login}` filled in; all that must be found."""

    name: str
    harm: tuple[str, ...]
    cure: tuple[str, ...]
    kind: str
    objects: tuple[str, ...]
    difference: str
    expected: str | None
    """A part of what should be there."""
    found: str | None
    """A part of what is."""


def defect(
    name: str,
    harm: str,
    cure: str,
    kind: str,
    objects: str | tuple[str, ...],
    difference: str,
    expected: str | None = None,
    found: str | None = None,
) -> Defect:
    """A defect; statements are told apart by a semicolon and a blank."""
    several = (objects,) if isinstance(objects, str) else objects
    return Defect(name, tuple(harm.split("; ")), tuple(cure.split("; ")), kind, several, difference, expected, found)


COLUMNS = (
    defect(
        "a dropped column",
        "ALTER TABLE users DROP COLUMN disabled_at",
        "ALTER TABLE users ADD COLUMN disabled_at timestamptz",
        "column", "users.disabled_at", "missing", "timestamp with time zone",
    ),
    defect(
        "a column more",
        "ALTER TABLE users ADD COLUMN nick text",
        "ALTER TABLE users DROP COLUMN nick",
        "column", "users.nick", "unexpected", None, "text",
    ),
    defect(
        "another type",
        "ALTER TABLE sessions ALTER COLUMN ended_at TYPE date",
        "ALTER TABLE sessions ALTER COLUMN ended_at TYPE timestamptz",
        "column", "sessions.ended_at", "differs", "timestamp with time zone", "date",
    ),
    defect(
        "a column that may be empty",
        "ALTER TABLE users ALTER COLUMN name DROP NOT NULL",
        "ALTER TABLE users ALTER COLUMN name SET NOT NULL",
        "column", "users.name", "differs", "NOT NULL", "text STATISTICS 0",
    ),
    defect(
        "another default",
        "ALTER TABLE messages ALTER COLUMN created_at SET DEFAULT '2000-01-01'",
        "ALTER TABLE messages ALTER COLUMN created_at SET DEFAULT now()",
        "column", "messages.created_at", "differs", "DEFAULT now()", "DEFAULT '2000-01-01",
    ),
    defect(
        "statistics",
        "ALTER TABLE users ALTER COLUMN email SET STATISTICS -1",
        "ALTER TABLE users ALTER COLUMN email SET STATISTICS 0",
        "column", "users.email", "differs", "STATISTICS 0", "text",
    ),
    defect(
        "a guess at how many values there are",
        "ALTER TABLE users ALTER COLUMN id SET (n_distinct = 7)",
        "ALTER TABLE users ALTER COLUMN id RESET (n_distinct)",
        "column", "users.id", "differs", "uuid NOT NULL", "uuid NOT NULL WITH n_distinct=7",
    ),
)  # fmt: skip

INDEXES = (
    defect(
        "a dropped index",
        "DROP INDEX messages_tenant_id_author_id_idx",
        "CREATE INDEX messages_tenant_id_author_id_idx ON messages (tenant_id, author_id)",
        "index", "messages.messages_tenant_id_author_id_idx", "missing", "btree (tenant_id, author_id)",
    ),
    defect(
        "an index more",
        "CREATE INDEX more_idx ON messages (tenant_id)",
        "DROP INDEX more_idx",
        "index", "messages.more_idx", "unexpected", None, "btree (tenant_id)",
    ),
    defect(
        "an index of the same name on other columns",
        "DROP INDEX messages_tenant_id_author_id_idx;"
        " CREATE INDEX messages_tenant_id_author_id_idx ON messages (author_id)",
        "DROP INDEX messages_tenant_id_author_id_idx;"
        " CREATE INDEX messages_tenant_id_author_id_idx ON messages (tenant_id, author_id)",
        "index", "messages.messages_tenant_id_author_id_idx", "differs", "btree (tenant_id, author_id)",
        "btree (author_id)",
    ),
    defect(
        "an index that is not valid",
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'messages_tenant_id_author_id_idx'::regclass",
        "REINDEX INDEX messages_tenant_id_author_id_idx",
        "index", "messages.messages_tenant_id_author_id_idx", "invalid", "author_id)", "INVALID",
    ),
)  # fmt: skip

CONSTRAINTS = (
    defect(
        "a dropped constraint",
        "ALTER TABLE users DROP CONSTRAINT users_name_check",
        "ALTER TABLE users ADD CONSTRAINT users_name_check CHECK (char_length(name) BETWEEN 1 AND 200)",
        "constraint", "users.users_name_check", "missing", "CHECK",
    ),
    defect(
        "a dropped key",
        "ALTER TABLE sessions DROP CONSTRAINT sessions_tenant_id_ticket_nonce_key",
        "ALTER TABLE sessions ADD CONSTRAINT sessions_tenant_id_ticket_nonce_key UNIQUE (tenant_id, ticket_nonce)",
        "constraint", "sessions.sessions_tenant_id_ticket_nonce_key", "missing", "UNIQUE",
    ),
    defect(
        "a constraint that was never validated",
        "ALTER TABLE users DROP CONSTRAINT users_name_check;"
        " ALTER TABLE users ADD CONSTRAINT users_name_check CHECK (char_length(name) BETWEEN 1 AND 200) NOT VALID",
        "ALTER TABLE users VALIDATE CONSTRAINT users_name_check",
        "constraint", "users.users_name_check", "differs", "CHECK", "NOT VALID",
    ),
    defect(
        "references that nobody checks",
        "ALTER TABLE messages DISABLE TRIGGER ALL",
        "ALTER TABLE messages ENABLE TRIGGER ALL",
        "constraint", MESSAGES, "differs", "FOREIGN KEY", "its triggers are disabled",
    ),
)  # fmt: skip

PROTECTION = (
    defect(
        "a dropped policy",
        "DROP POLICY tenant_only ON users",
        POLICY,
        "policy", "users.tenant_only", "missing", "tenancy.current_tenant()",
    ),
    defect(
        "a weakened policy",
        "ALTER POLICY tenant_only ON users USING (true)",
        f"ALTER POLICY tenant_only ON users {THE_POLICY}",
        "policy", "users.tenant_only", "differs", "FOR ALL TO PUBLIC USING ((tenant_id =", "USING (true)",
    ),
    defect(
        "a policy for others alone",
        "ALTER POLICY tenant_only ON users TO copyhold_backup",
        "ALTER POLICY tenant_only ON users TO PUBLIC",
        "policy", "users.tenant_only", "differs", "TO PUBLIC", "TO copyhold_backup",
    ),
    defect(
        "a policy more",
        "CREATE POLICY another ON users USING (true)",
        "DROP POLICY another ON users",
        "policy", "users.another", "unexpected", None, "USING (true)",
    ),
    defect(
        "policies that do not hold for the owner",
        "ALTER TABLE users NO FORCE ROW LEVEL SECURITY",
        "ALTER TABLE users FORCE ROW LEVEL SECURITY",
        "table", "users", "differs", "enabled and forced", "enabled and not forced",
    ),
    defect(
        "policies that hold for nobody",
        "ALTER TABLE users DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE users ENABLE ROW LEVEL SECURITY",
        "table", "users", "differs", "enabled and forced", "disabled and forced",
    ),
    defect(
        "another owner",
        "ALTER TABLE users OWNER TO copyhold_mover",
        "ALTER TABLE users OWNER TO copyhold_owner",
        "table", "users", "differs", "owned by copyhold_owner", "owned by copyhold_mover",
    ),
)  # fmt: skip

GRANTS = (
    defect(
        "a grant to everybody",
        "GRANT SELECT ON users TO PUBLIC",
        "REVOKE SELECT ON users FROM PUBLIC",
        "grant", "users to PUBLIC", "unexpected", None, "SELECT",
    ),
    defect(
        "a grant more to the app",
        "GRANT TRUNCATE ON users TO {login}",
        "REVOKE TRUNCATE ON users FROM {login}",
        "grant", "users to app login", "differs", "SELECT", "TRUNCATE",
    ),
    defect(
        "a grant less",
        "REVOKE ALL ON users FROM {login}",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON users TO {login}",
        "grant", "users to app login", "missing", "DELETE, INSERT, SELECT, UPDATE",
    ),
    defect(
        "a grant that may be handed on",
        "GRANT SELECT ON users TO {login} WITH GRANT OPTION",
        "REVOKE GRANT OPTION FOR SELECT ON users FROM {login}",
        "grant", "users to app login", "differs", "SELECT,", "SELECT with grant option",
    ),
    defect(
        "a grant on a column",
        "GRANT SELECT (email) ON users TO copyhold_mover",
        "REVOKE SELECT (email) ON users FROM copyhold_mover",
        "grant", "users to copyhold_mover (email)", "unexpected", None, "SELECT",
    ),
    defect(
        "a grant on the schema",
        "GRANT CREATE ON SCHEMA {schema} TO {login}",
        "REVOKE CREATE ON SCHEMA {schema} FROM {login}",
        "grant", "this schema to app login", "differs", "USAGE", "CREATE, USAGE",
    ),
    defect(
        "default privileges",
        "ALTER DEFAULT PRIVILEGES FOR ROLE copyhold_owner IN SCHEMA {schema} GRANT SELECT ON TABLES TO PUBLIC",
        "ALTER DEFAULT PRIVILEGES FOR ROLE copyhold_owner IN SCHEMA {schema} REVOKE SELECT ON TABLES FROM PUBLIC",
        "default privileges", "copyhold_owner on tables", "unexpected", None, "SELECT to PUBLIC",
    ),
)  # fmt: skip

OTHERS = (
    defect(
        "a table more",
        "CREATE TABLE notes (id int PRIMARY KEY)",
        "DROP TABLE notes",
        "table", "notes", "unexpected", None, "row-level security disabled",
    ),
    defect(
        "a trigger more",
        "CREATE TRIGGER more BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "DROP TRIGGER more ON users",
        "trigger", "users.more", "unexpected", None, "suppress_redundant_updates_trigger",
    ),
    defect(
        "a view",
        "CREATE VIEW everybody AS SELECT id FROM users",
        "DROP VIEW everybody",
        "view", "everybody", "unexpected", None, "SELECT users.id",
    ),
    defect(
        "a function",
        "CREATE FUNCTION more(int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "DROP FUNCTION more(int)",
        "function", "more(integer)", "unexpected", None, "returns integer",
    ),
    defect(
        "a sequence",
        "CREATE SEQUENCE numbers",
        "DROP SEQUENCE numbers",
        "sequence", "numbers", "unexpected", None, "bigint from 1 by 1",
    ),
    defect(
        "a type",
        "CREATE TYPE mood AS ENUM ('good')",
        "DROP TYPE mood",
        "type", "mood", "unexpected", None, "enum 'good'",
    ),
    defect(
        "an extension",
        "CREATE EXTENSION pg_trgm SCHEMA {schema}",
        "DROP EXTENSION pg_trgm",
        "extension", "pg_trgm", "unexpected", None, "version",
    ),
)  # fmt: skip

DEFECTS = (*COLUMNS, *INDEXES, *CONSTRAINTS, *PROTECTION, *GRANTS, *OTHERS)

TENANCY = (
    defect(
        "a function with another attribute",
        "ALTER FUNCTION tenancy.conceal(regclass) COST 7",
        "ALTER FUNCTION tenancy.conceal(regclass) COST 100",
        "function", "conceal(tenant_table regclass)", "differs", "cost 100", "cost 7",
    ),
    defect(
        "a function that the app may call",
        "GRANT EXECUTE ON FUNCTION tenancy.admit(name) TO {login}",
        "REVOKE EXECUTE ON FUNCTION tenancy.admit(name) FROM {login}",
        "grant", "admit(login name) to app login", "unexpected", None, "EXECUTE",
    ),
    defect(
        "keys that the app may read",
        "GRANT SELECT ON tenancy.keys TO {login}",
        "REVOKE SELECT ON tenancy.keys FROM {login}",
        "grant", "keys to app login", "unexpected", None, "SELECT",
    ),
    defect(
        "a table more",
        "CREATE TABLE tenancy.more (id int)",
        "DROP TABLE tenancy.more",
        "table", "more", "unexpected", None, "owned by",
    ),
    defect(
        "default privileges for the whole database",
        "ALTER DEFAULT PRIVILEGES FOR ROLE copyhold_owner GRANT SELECT ON TABLES TO PUBLIC",
        "ALTER DEFAULT PRIVILEGES FOR ROLE copyhold_owner REVOKE SELECT ON TABLES FROM PUBLIC",
        "default privileges", "copyhold_owner on tables everywhere", "unexpected", None, "SELECT to PUBLIC",
    ),
)  # fmt: skip
