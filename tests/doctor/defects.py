"""What can go wrong in a catalogue and on the roll: how to do it, how to undo it, and what must be found of it."""

from __future__ import annotations

from dataclasses import dataclass

OWNER, BACK = "SET ROLE copyhold_owner", "RESET ROLE"
THE_POLICY = "USING (tenant_id = (SELECT tenancy.current_tenant()))"
POLICY = f"{THE_POLICY} WITH CHECK (tenant_id = (SELECT tenancy.current_tenant()))"
APP_MAY = "GRANT SELECT, INSERT, UPDATE, DELETE ON messages TO {login}"
NOBODY = "00000000000000000000000000000000"
UNPROTECTED = {"policy_missing", "rls_disabled", "rls_not_forced"}


@dataclass(frozen=True)
class Defect:
    """`harm` and `cure` are statements at `place`; `finds` are the checks that must speak, and no other."""

    name: str
    place: str
    harm: tuple[str, ...]
    cure: tuple[str, ...]
    finds: frozenset[str]


def defect(name: str, place: str, harm: str | tuple[str, ...], cure: str | tuple[str, ...], *finds: str) -> Defect:
    """A defect, its statements given as one or as several."""

    def several(given: str | tuple[str, ...]) -> tuple[str, ...]:
        return (given,) if isinstance(given, str) else given

    return Defect(name, place, several(harm), several(cure), frozenset(finds))


TABLES = (
    defect(
        "a table without tenant_id",
        "pool",
        (OWNER, "CREATE TABLE notes (id uuid PRIMARY KEY)"),
        "DROP TABLE notes",
        "tenant_id",
        *UNPROTECTED,
    ),
    defect(
        "a tenant_id of another type",
        "bridge",
        (OWNER, "CREATE TABLE notes (tenant_id text NOT NULL, id uuid NOT NULL, PRIMARY KEY (tenant_id, id))"),
        "DROP TABLE notes",
        "statistics",
        "tenant_id",
        *UNPROTECTED,
    ),
    defect(
        "a table of another schema that the app reaches",
        "silo",
        (OWNER, "CREATE SCHEMA side CREATE TABLE notes (id uuid)", "GRANT SELECT ON side.notes TO {login}"),
        "DROP SCHEMA side CASCADE",
        "tenant_id",
        *UNPROTECTED,
    ),
    defect(
        "a primary key without tenant_id",
        "pool",
        (
            OWNER,
            "CREATE TABLE notes (tenant_id uuid NOT NULL, id uuid PRIMARY KEY)",
            "SELECT tenancy.protect('notes')",
        ),
        "DROP TABLE notes",
        "primary_key",
    ),
    defect(
        "a table without a primary key",
        "bridge",
        (OWNER, "CREATE TABLE notes (tenant_id uuid NOT NULL)", "SELECT tenancy.protect('notes')"),
        "DROP TABLE notes",
        "primary_key",
    ),
    defect(
        "a unique constraint without tenant_id",
        "pool",
        "ALTER TABLE users ADD CONSTRAINT one_email UNIQUE (email)",
        "ALTER TABLE users DROP CONSTRAINT one_email",
        "unique_key",
    ),
    defect(
        "a unique index that only carries tenant_id along",
        "bridge",
        "CREATE UNIQUE INDEX one_email ON users (email) INCLUDE (tenant_id)",
        "DROP INDEX one_email",
        "unique_key",
    ),
    defect(
        "an exclusion constraint without tenant_id",
        "silo",
        "ALTER TABLE users ADD CONSTRAINT one_email EXCLUDE USING hash (email WITH =)",
        "ALTER TABLE users DROP CONSTRAINT one_email",
        "unique_key",
    ),
    defect(
        "a foreign key that pairs tenant_id with something else",
        "pool",
        "ALTER TABLE messages ADD CONSTRAINT odd"
        " FOREIGN KEY (id, tenant_id) REFERENCES users (tenant_id, id) NOT VALID",
        "ALTER TABLE messages DROP CONSTRAINT odd",
        "foreign_key",
    ),
    defect(
        "a foreign key without tenant_id",
        "silo",
        (
            "ALTER TABLE conversations ADD CONSTRAINT one_id UNIQUE (id)",
            "ALTER TABLE messages ADD CONSTRAINT odd FOREIGN KEY (conversation_id) REFERENCES conversations (id)",
        ),
        ("ALTER TABLE messages DROP CONSTRAINT odd", "ALTER TABLE conversations DROP CONSTRAINT one_id"),
        "foreign_key",
        "foreign_key_index",
        "unique_key",
    ),
    defect(
        "a foreign key into another tenant's schema",
        "bridge",
        "ALTER TABLE messages ADD CONSTRAINT odd FOREIGN KEY (tenant_id, author_id)"
        " REFERENCES {schema_other_bridge}.users (tenant_id, id) NOT VALID",
        "ALTER TABLE messages DROP CONSTRAINT odd",
        "foreign_key",
    ),
    defect(
        "a foreign key without an index",
        "pool",
        "DROP INDEX messages_tenant_id_author_id_idx",
        (OWNER, "CREATE INDEX messages_tenant_id_author_id_idx ON messages (tenant_id, author_id)"),
        "foreign_key_index",
    ),
    defect(
        "an index that was never finished",
        "bridge",
        "UPDATE pg_index SET indisvalid = false"
        " WHERE indexrelid = 'conversations_tenant_id_last_message_at_id_idx'::regclass",
        "UPDATE pg_index SET indisvalid = true"
        " WHERE indexrelid = 'conversations_tenant_id_last_message_at_id_idx'::regclass",
        "index_invalid",
    ),
    defect(
        "a table owned by the app",
        "pool",
        "ALTER TABLE messages OWNER TO {login}",
        ("ALTER TABLE messages OWNER TO copyhold_owner", APP_MAY),
        "login_owns",
        "owner",
    ),
    defect(
        "a table owned by somebody else",
        "silo",
        "ALTER TABLE messages OWNER TO copyhold_migrator",
        "ALTER TABLE messages OWNER TO copyhold_owner",
        "owner",
    ),
    defect(
        "a function owned by somebody else",
        "pool",
        "ALTER FUNCTION tenancy.enter(text) OWNER TO postgres",
        "ALTER FUNCTION tenancy.enter(text) OWNER TO copyhold_owner",
        "owner",
    ),
    defect(
        "a view with its owner's rights",
        "bridge",
        (OWNER, "CREATE VIEW recent AS SELECT * FROM messages"),
        "DROP VIEW recent",
        "view_invoker",
    ),
    defect(
        "a materialised view",
        "pool",
        (
            "CREATE MATERIALIZED VIEW recent AS SELECT 1 AS one",
            "ALTER MATERIALIZED VIEW recent OWNER TO copyhold_owner",
        ),
        "DROP MATERIALIZED VIEW recent",
        "materialised_view",
    ),
    defect(
        "a foreign table",
        "silo",
        (
            "CREATE FOREIGN DATA WRAPPER far",
            "CREATE SERVER away FOREIGN DATA WRAPPER far",
            "CREATE FOREIGN TABLE notes (id uuid) SERVER away",
            "ALTER FOREIGN TABLE notes OWNER TO copyhold_owner",
        ),
        "DROP FOREIGN DATA WRAPPER far CASCADE",
        "foreign_table",
    ),
    defect(
        "a rewrite rule",
        "pool",
        "CREATE RULE aloud AS ON INSERT TO messages DO ALSO NOTIFY messages",
        "DROP RULE aloud ON messages",
        "table_rule",
    ),
    defect(
        "somebody's trigger",
        "bridge",
        "CREATE TRIGGER spy BEFORE UPDATE ON messages FOR EACH ROW"
        " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "DROP TRIGGER spy ON messages",
        "table_trigger",
    ),
    defect(
        "an event trigger",
        "silo",
        (
            OWNER,
            "CREATE FUNCTION look() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'",
            BACK,
            "CREATE EVENT TRIGGER look ON ddl_command_end EXECUTE FUNCTION look()",
        ),
        ("DROP EVENT TRIGGER look", "DROP FUNCTION look()"),
        "event_trigger",
    ),
    defect("a sequence", "pool", (OWNER, "CREATE SEQUENCE numbers"), "DROP SEQUENCE numbers", "sequence"),
    defect(
        "an identity column",
        "bridge",
        "ALTER TABLE messages ADD COLUMN number bigint GENERATED ALWAYS AS IDENTITY",
        "ALTER TABLE messages DROP COLUMN number",
        "sequence",
        "statistics",
    ),
    defect(
        "a column of content whose statistics are kept",
        "pool",
        "ALTER TABLE messages ADD COLUMN mood text",
        "ALTER TABLE messages DROP COLUMN mood",
        "statistics",
    ),
    defect(
        "statistics from before a column was concealed",
        "silo",
        (
            "ALTER TABLE messages ALTER COLUMN body SET STATISTICS 100",
            "INSERT INTO messages (tenant_id, id, conversation_id, author_id, body)"
            " SELECT tenant_id, gen_random_uuid(), conversation_id, author_id, body FROM messages LIMIT 1",
            "ANALYZE messages",
            "ALTER TABLE messages ALTER COLUMN body SET STATISTICS 0",
        ),
        "DELETE FROM pg_statistic WHERE starelid = 'messages'::regclass",
        "statistics",
    ),
    defect(
        "statistics made by name",
        "bridge",
        (OWNER, "CREATE STATISTICS pair ON subject, created_by FROM conversations"),
        "DROP STATISTICS pair",
        "statistics",
    ),
    defect(
        "statistics of an expression",
        "silo",
        (OWNER, "CREATE INDEX by_start ON messages (tenant_id, left(body, 20))"),
        "DROP INDEX by_start",
        "statistics",
    ),
    defect("a large object", "silo", "SELECT lo_create(4242)", "SELECT lo_unlink(4242)", "large_object"),
)

POLICIES = (
    defect(
        "a dropped policy",
        "pool",
        "DROP POLICY tenant_only ON messages",
        f"CREATE POLICY tenant_only ON messages {POLICY}",
        "policy_missing",
    ),
    defect(
        "a policy that lets all rows be seen",
        "pool",
        "ALTER POLICY tenant_only ON messages USING (true)",
        f"ALTER POLICY tenant_only ON messages {THE_POLICY}",
        "policy_form",
    ),
    defect(
        "a policy that lets all rows be written",
        "bridge",
        "ALTER POLICY tenant_only ON messages WITH CHECK (true)",
        "ALTER POLICY tenant_only ON messages WITH CHECK (tenant_id = (SELECT tenancy.current_tenant()))",
        "policy_form",
    ),
    defect(
        "a policy that asks a plain setting",
        "silo",
        "ALTER POLICY tenant_only ON messages USING (tenant_id = current_setting('tenancy.tenant')::uuid)",
        f"ALTER POLICY tenant_only ON messages {THE_POLICY}",
        "policy_form",
    ),
    defect(
        "a policy that compares with a look-alike of =",
        "pool",
        (
            "CREATE OPERATOR public.= (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = uuid_ne)",
            "ALTER POLICY tenant_only ON messages"
            " USING (tenant_id OPERATOR(public.=) (SELECT tenancy.current_tenant()))",
        ),
        (
            "ALTER POLICY tenant_only ON messages"
            " USING (tenant_id OPERATOR(pg_catalog.=) (SELECT tenancy.current_tenant()))",
            "DROP OPERATOR public.= (uuid, uuid)",
        ),
        "policy_form",
    ),
    defect(
        "a policy for reading only",
        "silo",
        ("DROP POLICY tenant_only ON messages", f"CREATE POLICY tenant_only ON messages FOR SELECT {THE_POLICY}"),
        ("DROP POLICY tenant_only ON messages", f"CREATE POLICY tenant_only ON messages {POLICY}"),
        "policy_form",
    ),
    defect(
        "a second, permissive policy",
        "bridge",
        "CREATE POLICY everybody ON messages USING (true)",
        "DROP POLICY everybody ON messages",
        "policy_extra",
        "policy_form",
    ),
    defect(
        "the same policy twice",
        "pool",
        f"CREATE POLICY again ON messages {POLICY}",
        "DROP POLICY again ON messages",
        "policy_extra",
    ),
    defect(
        "a policy for one role",
        "silo",
        "ALTER POLICY tenant_only ON messages TO copyhold_backup",
        "ALTER POLICY tenant_only ON messages TO PUBLIC",
        "policy_role",
    ),
    defect(
        "row-level security disabled",
        "bridge",
        "ALTER TABLE messages DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE messages ENABLE ROW LEVEL SECURITY",
        "rls_disabled",
    ),
    defect(
        "row-level security not forced",
        "silo",
        "ALTER TABLE messages NO FORCE ROW LEVEL SECURITY",
        "ALTER TABLE messages FORCE ROW LEVEL SECURITY",
        "rls_not_forced",
    ),
    defect(
        "a partition that is reached directly",
        "pool",
        (
            OWNER,
            "CREATE TABLE events (tenant_id uuid NOT NULL, id uuid NOT NULL, PRIMARY KEY (tenant_id, id))"
            " PARTITION BY HASH (tenant_id)",
            "CREATE TABLE events_0 PARTITION OF events FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
            "SELECT tenancy.protect('events')",
            "GRANT SELECT ON events_0 TO {login}",
        ),
        "DROP TABLE events",
        "child_unprotected",
    ),
)

# What is cured by nothing is put back by the test, which keeps all definitions.
FUNCTIONS = (
    defect(
        "enter without its checks",
        "pool",
        "CREATE OR REPLACE FUNCTION tenancy.enter(token text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER"
        " SET search_path = pg_catalog, pg_temp AS 'BEGIN END'",
        (),
        "function_altered",
    ),
    defect(
        "current_tenant that is remembered by plans",
        "silo",
        "ALTER FUNCTION tenancy.current_tenant() IMMUTABLE",
        "ALTER FUNCTION tenancy.current_tenant() STABLE",
        "function_altered",
    ),
    defect(
        "a function missing",
        "bridge",
        "ALTER FUNCTION tenancy.protect(regclass) RENAME TO shield",
        "ALTER FUNCTION tenancy.shield(regclass) RENAME TO protect",
        "function_altered",
    ),
    defect(
        "a search path not pinned",
        "pool",
        "ALTER FUNCTION tenancy.enter(text) RESET search_path",
        "ALTER FUNCTION tenancy.enter(text) SET search_path = pg_catalog, pg_temp",
        "definer_search_path",
    ),
    defect(
        "a function with its owner's rights",
        "bridge",
        (OWNER, "CREATE FUNCTION leak() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'"),
        "DROP FUNCTION leak()",
        "definer_function",
        "definer_search_path",
    ),
    defect(
        "a function with its owner's rights, its search path pinned",
        "silo",
        (
            OWNER,
            "CREATE FUNCTION leak() RETURNS int LANGUAGE sql SECURITY DEFINER"
            " SET search_path = pg_catalog AS 'SELECT 1'",
        ),
        "DROP FUNCTION leak()",
        "definer_function",
    ),
)

LOGINS = (
    *(
        defect(
            f"a login with {attribute}",
            place,
            f"ALTER ROLE {{login}} {attribute}",
            f"ALTER ROLE {{login}} NO{attribute}",
            "login_attributes",
        )
        for place, attribute in (
            ("pool", "BYPASSRLS"),
            ("bridge", "SUPERUSER"),
            ("silo", "CREATEROLE"),
            ("pool", "REPLICATION"),
            ("silo", "CREATEDB"),
        )
    ),
    *(
        defect(
            f"a login that is a member of {role}",
            place,
            f"GRANT {role} TO {{login}}",
            f"REVOKE {role} FROM {{login}}",
            "login_membership",
        )
        for place, role in (("pool", "copyhold_owner"), ("bridge", "pg_monitor"), ("silo", "pg_read_all_data"))
    ),
    defect(
        "a login that another may become",
        "pool",
        "GRANT {login} TO {login_bridge}",
        "REVOKE {login} FROM {login_bridge}",
        "login_membership",
    ),
    defect("no login", "pool", "ALTER ROLE {login} NOLOGIN", "ALTER ROLE {login} LOGIN", "login_missing"),
    defect(
        "a login that owns its database",
        "silo",
        "ALTER DATABASE {login} OWNER TO {login}",
        ("ALTER DATABASE {login} OWNER TO postgres", "GRANT CONNECT ON DATABASE {login} TO {login}"),
        "login_owns",
    ),
    defect(
        "a login with a setting of its own making",
        "pool",
        "ALTER ROLE {login} SET search_path = elsewhere",
        "ALTER ROLE {login} RESET search_path",
        "login_settings",
    ),
    defect(
        "a login without its time-out",
        "bridge",
        "ALTER ROLE {login} RESET statement_timeout",
        "ALTER ROLE {login} SET statement_timeout = '15s'",
        "login_settings",
    ),
    defect(
        "TRUNCATE granted",
        "pool",
        "GRANT TRUNCATE ON messages TO {login}",
        "REVOKE TRUNCATE ON messages FROM {login}",
        "login_privileges",
    ),
    defect(
        "REFERENCES granted on a column",
        "bridge",
        "GRANT REFERENCES (id) ON messages TO {login}",
        "REVOKE REFERENCES (id) ON messages FROM {login}",
        "login_privileges",
    ),
    defect(
        "TRIGGER granted",
        "silo",
        "GRANT TRIGGER ON messages TO {login}",
        "REVOKE TRIGGER ON messages FROM {login}",
        "login_privileges",
    ),
    defect(
        "a grant that may be passed on",
        "pool",
        "GRANT SELECT ON messages TO {login} WITH GRANT OPTION",
        "REVOKE GRANT OPTION FOR SELECT ON messages FROM {login}",
        "login_privileges",
    ),
    defect(
        "the signing key readable",
        "pool",
        "GRANT SELECT ON tenancy.keys TO {login}",
        "REVOKE SELECT ON tenancy.keys FROM {login}",
        "login_platform_table",
    ),
    defect(
        "one pad of the signing key readable",
        "silo",
        "GRANT SELECT (inner_pad) ON tenancy.keys TO {login}",
        "REVOKE SELECT (inner_pad) ON tenancy.keys FROM {login}",
        "login_platform_table",
    ),
    defect(
        "the version table readable",
        "bridge",
        "GRANT SELECT ON alembic_version TO {login}",
        "REVOKE SELECT ON alembic_version FROM {login}",
        "login_platform_table",
    ),
    defect(
        "a function of the platform's callable",
        "silo",
        "GRANT EXECUTE ON FUNCTION tenancy.admit(name) TO {login}",
        "REVOKE EXECUTE ON FUNCTION tenancy.admit(name) FROM {login}",
        "login_function",
    ),
    defect(
        "CREATE on a schema",
        "bridge",
        "GRANT CREATE ON SCHEMA {schema} TO {login}",
        "REVOKE CREATE ON SCHEMA {schema} FROM {login}",
        "login_schema",
    ),
    defect(
        "TEMP on the database",
        "pool",
        "GRANT TEMP ON DATABASE {login} TO {login}",
        "REVOKE TEMP ON DATABASE {login} FROM {login}",
        "login_database",
    ),
    defect(
        "CREATE on the database",
        "silo",
        "GRANT CREATE ON DATABASE {login} TO {login}",
        "REVOKE CREATE ON DATABASE {login} FROM {login}",
        "login_database",
    ),
    defect(
        "CONNECT to another database",
        "bridge",
        "GRANT CONNECT ON DATABASE postgres TO {login}",
        "REVOKE CONNECT ON DATABASE postgres FROM {login}",
        "login_database",
    ),
    defect(
        "a parameter that is for superusers",
        "pool",
        "GRANT SET ON PARAMETER session_replication_role TO {login}",
        "REVOKE SET ON PARAMETER session_replication_role FROM {login}",
        "login_parameter",
    ),
)

EVERYBODY = (
    *(
        defect(
            f"{function} callable by everybody",
            place,
            f"GRANT EXECUTE ON FUNCTION pg_catalog.{function} TO PUBLIC",
            f"REVOKE EXECUTE ON FUNCTION pg_catalog.{function} FROM PUBLIC",
            "taken_function",
        )
        for place, function in (
            ("pool", "pg_stat_get_activity(integer)"),
            ("bridge", "pg_stat_get_backend_activity(integer)"),
            ("pool", "pg_advisory_xact_lock(bigint)"),
            ("silo", "pg_try_advisory_lock(integer, integer)"),
            ("bridge", "pg_terminate_backend(integer, bigint)"),
            ("silo", "lo_create(oid)"),
        )
    ),
    defect(
        "an advisory lock callable by the login",
        "bridge",
        "GRANT EXECUTE ON FUNCTION pg_advisory_lock(bigint) TO {login}",
        "REVOKE EXECUTE ON FUNCTION pg_advisory_lock(bigint) FROM {login}",
        "taken_function",
    ),
    defect(
        "procedures for everybody",
        "silo",
        "GRANT USAGE ON LANGUAGE plpgsql TO PUBLIC",
        "REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC",
        "language_usage",
    ),
    defect(
        "a cheap leakproof function",
        "pool",
        "ALTER FUNCTION pg_catalog.texteq(text, text) COST 1",
        "ALTER FUNCTION pg_catalog.texteq(text, text) COST 30",
        "leakproof_function",
    ),
    defect(
        "a leakproof function of a tenant's own",
        "bridge",
        (
            OWNER,
            "CREATE FUNCTION same(text, text) RETURNS boolean LANGUAGE sql IMMUTABLE COST 1000 AS 'SELECT $1 = $2'",
            BACK,
            "ALTER FUNCTION same(text, text) LEAKPROOF",
        ),
        "DROP FUNCTION same(text, text)",
        "leakproof_function",
    ),
    defect(
        "other sessions' statements readable",
        "pool",
        "GRANT SELECT ON pg_stat_activity TO PUBLIC",
        "REVOKE SELECT ON pg_stat_activity FROM PUBLIC",
        "taken_view",
    ),
    defect(
        "one column of other sessions readable",
        "silo",
        "GRANT SELECT (query) ON pg_stat_activity TO {login}",
        "REVOKE SELECT (query) ON pg_stat_activity FROM {login}",
        "taken_view",
    ),
    defect(
        "a table for everybody",
        "bridge",
        "GRANT SELECT ON messages TO PUBLIC",
        "REVOKE SELECT ON messages FROM PUBLIC",
        "public_table",
    ),
    defect(
        "a column for everybody",
        "silo",
        "GRANT SELECT (body) ON messages TO PUBLIC",
        "REVOKE SELECT (body) ON messages FROM PUBLIC",
        "public_table",
    ),
    defect(
        "a schema for everybody",
        "pool",
        "GRANT USAGE ON SCHEMA tenancy TO PUBLIC",
        "REVOKE USAGE ON SCHEMA tenancy FROM PUBLIC",
        "public_schema",
    ),
    defect(
        "CREATE in PostgreSQL's own schema for everybody",
        "silo",
        "GRANT CREATE ON SCHEMA pg_catalog TO PUBLIC",
        "REVOKE CREATE ON SCHEMA pg_catalog FROM PUBLIC",
        "public_schema",
    ),
    defect(
        "enter for everybody",
        "bridge",
        "GRANT EXECUTE ON FUNCTION tenancy.enter(text) TO PUBLIC",
        "REVOKE EXECUTE ON FUNCTION tenancy.enter(text) FROM PUBLIC",
        "public_function",
    ),
    *(
        defect(
            f"{privilege} on {database} for everybody",
            place,
            f"GRANT {privilege} ON DATABASE {database} TO PUBLIC",
            f"REVOKE {privilege} ON DATABASE {database} FROM PUBLIC",
            "public_database",
        )
        for place, privilege, database in (
            ("pool", "CONNECT", "{login}"),
            ("silo", "TEMP", "{login}"),
            ("alpha", "CONNECT", "template1"),
        )
    ),
    defect(
        "default privileges",
        "pool",
        "ALTER DEFAULT PRIVILEGES FOR ROLE copyhold_owner IN SCHEMA {schema} GRANT TRUNCATE ON TABLES TO {login}",
        "ALTER DEFAULT PRIVILEGES FOR ROLE copyhold_owner IN SCHEMA {schema} REVOKE TRUNCATE ON TABLES FROM {login}",
        "default_privileges",
    ),
    defect(
        "a stranger with a grant",
        "silo",
        ("CREATE ROLE analyst", "GRANT SELECT ON messages TO analyst"),
        ("DROP OWNED BY analyst", "DROP ROLE analyst"),
        "foreign_grant",
    ),
    defect(
        "a stranger who may connect",
        "bridge",
        ("CREATE ROLE analyst LOGIN", "GRANT CONNECT ON DATABASE {login} TO analyst"),
        ("DROP OWNED BY analyst", "DROP ROLE analyst"),
        "foreign_grant",
    ),
)

SERVERS = (
    defect(
        "an owner that logs in",
        "alpha",
        "ALTER ROLE copyhold_owner LOGIN",
        "ALTER ROLE copyhold_owner NOLOGIN",
        "platform_role",
    ),
    defect(
        "a backup role that writes",
        "beta",
        "GRANT copyhold_owner TO copyhold_backup",
        "REVOKE copyhold_owner FROM copyhold_backup",
        "platform_role",
    ),
    defect(
        "a migrator without its membership",
        "beta",
        "REVOKE copyhold_owner FROM copyhold_migrator",
        "GRANT copyhold_owner TO copyhold_migrator",
        "platform_role",
    ),
    defect(
        "a stranger in the owner's place",
        "alpha",
        "CREATE ROLE analyst LOGIN IN ROLE copyhold_owner",
        "DROP ROLE analyst",
        "platform_role",
    ),
    defect("a stranger with BYPASSRLS", "beta", "CREATE ROLE analyst BYPASSRLS", "DROP ROLE analyst", "role_powers"),
    defect("an orphaned login", "beta", f"CREATE ROLE silo_{NOBODY} LOGIN", f"DROP ROLE silo_{NOBODY}", "role_orphan"),
    defect(
        "an orphaned database",
        "beta",
        (f"CREATE DATABASE silo_{NOBODY}", f"REVOKE ALL ON DATABASE silo_{NOBODY} FROM PUBLIC"),
        f"DROP DATABASE silo_{NOBODY}",
        "database_orphan",
    ),
    defect(
        "an orphaned schema",
        "bridge",
        f"CREATE SCHEMA t_{NOBODY} AUTHORIZATION copyhold_owner",
        f"DROP SCHEMA t_{NOBODY}",
        "schema_orphan",
    ),
    defect(
        "an orphaned schema of somebody else's",
        "bridge",
        ("CREATE ROLE analyst", f"CREATE SCHEMA t_{NOBODY} AUTHORIZATION analyst"),
        ("DROP OWNED BY analyst", "DROP ROLE analyst"),
        "owner",
        "schema_foreign",
    ),
    defect(
        "a slot that somebody has made",
        "beta",
        "SELECT pg_create_logical_replication_slot('analyst', 'pgoutput')",
        "SELECT pg_drop_replication_slot('analyst')",
        "slot_foreign",
    ),
    defect(
        "a standby's slot whose standby has gone",
        "alpha",
        "SELECT pg_create_physical_replication_slot('standby', true)",
        "SELECT pg_drop_replication_slot('standby')",
        "slot_foreign",
    ),
    defect(
        "a database that lets nobody in",
        "beta",
        "ALTER DATABASE {login_silo} ALLOW_CONNECTIONS false",
        "ALTER DATABASE {login_silo} ALLOW_CONNECTIONS true",
        "database_unreachable",
    ),
)


def open_move(name: str, phase: str, facts: str, *finds: str) -> Defect:
    """A move of the pool's tenant in that phase with these facts, that a worker is said to be at."""
    return defect(
        name,
        "control",
        (
            f"INSERT INTO workflows (id, kind, subject, actor, state) VALUES ('{NOBODY}', 'move', '{NOBODY}', 'tests',"
            " 'running')",
            "INSERT INTO moves (id, tenant_id, actor, source_id, model, phase, epoch, undo_window_s, workflow_id,"
            " verified, created_at, undo_until)"
            f" SELECT '{NOBODY}', tenant_id, 'tests', home_id, 'silo', '{phase}', epoch, 60, '{NOBODY}', {facts}"
            "   FROM routes WHERE tenant_id = '{tenant_pool}'",
        ),
        (f"DELETE FROM moves WHERE id = '{NOBODY}'", f"DELETE FROM workflows WHERE id = '{NOBODY}'"),
        *finds,
    )


MOVES = (
    open_move("a move of more than an hour", "copying", "NULL, now() - interval '61 minutes', NULL", "move_long"),
    open_move(
        "a way back whose time is over",
        "kept",
        "true, now() - interval '1 day', now() - interval '11 minutes'",
        "move_overdue",
    ),
    open_move(
        "a home that was left and is not emptied",
        "cleaning",
        "true, now() - interval '1 day', now() - interval '11 minutes'",
        "move_overdue",
    ),
    defect(
        "a tenant on its way whose move is not on record",
        "control",
        "UPDATE tenants SET status = 'moving' WHERE id = '{tenant_pool}'",
        "UPDATE tenants SET status = 'active' WHERE id = '{tenant_pool}'",
        "move_lost",
    ),
    *(
        defect(
            f"a home that is {state} and no move on record",
            "control",
            "INSERT INTO homes (id, tenant_id, database_id, schema, model, state)"
            f" VALUES ('{NOBODY}', '{{tenant_silo}}', '{{database_pool}}', 'public', 'pool', '{state}')",
            f"DELETE FROM homes WHERE id = '{NOBODY}'",
            "move_lost",
        )
        for state in ("filling", "kept")
    ),
    open_move("two homes that differ", "kept", "false, now() - interval '1 day', NULL", "move_differs"),
)

ROLL = (
    defect(
        "a tenant whose plan promises more than it has",
        "control",
        "UPDATE tenants SET plan = 'enterprise' WHERE id = '{tenant_pool}'",
        "UPDATE tenants SET plan = 'starter' WHERE id = '{tenant_pool}'",
        "plan_home",
    ),
    defect(
        "another epoch",
        "pool",
        "UPDATE tenancy.fences SET epoch = epoch + 1 WHERE tenant_id = '{tenant}'",
        "UPDATE tenancy.fences SET epoch = epoch - 1 WHERE tenant_id = '{tenant}'",
        "epoch_mismatch",
    ),
    defect(
        "no fence",
        "bridge",
        "DELETE FROM tenancy.fences WHERE tenant_id = '{tenant}'",
        "INSERT INTO tenancy.fences (tenant_id, epoch, state) VALUES ('{tenant}', 1, 'open')",
        "fence_missing",
    ),
    defect(
        "the open fence of a suspended tenant",
        "control",
        "UPDATE tenants SET status = 'suspended' WHERE id = '{tenant_silo}'",
        "UPDATE tenants SET status = 'active' WHERE id = '{tenant_silo}'",
        "fence_state",
    ),
    defect(
        "the closed fence of an active tenant",
        "silo",
        "UPDATE tenancy.fences SET state = 'closed'",
        "UPDATE tenancy.fences SET state = 'open'",
        "fence_state",
    ),
    defect(
        "a stranger's fence",
        "pool",
        f"INSERT INTO tenancy.fences (tenant_id, epoch, state) VALUES ('{NOBODY}', 1, 'closed')",
        f"DELETE FROM tenancy.fences WHERE tenant_id = '{NOBODY}'",
        "fence_orphan",
    ),
    defect(
        "a missing schema",
        "control",
        f"INSERT INTO targets (database_id, schema, revision) VALUES ('{{database_bridge}}', 't_{NOBODY}', '{{head}}')",
        f"DELETE FROM targets WHERE schema = 't_{NOBODY}'",
        "home_missing",
    ),
    defect(
        "a missing database",
        "control",
        "INSERT INTO databases (id, server, name, model, alias, login, home_revision)"
        f" VALUES ('{NOBODY}', 'beta', 'silo_{NOBODY}', 'silo', 'silo_{NOBODY}', 'silo_{NOBODY}', '{{home_head}}')",
        f"DELETE FROM databases WHERE id = '{NOBODY}'",
        "home_missing",
        "pooler_drift",
    ),
    defect(
        "two tenants in a silo",
        "control",
        "INSERT INTO homes (id, tenant_id, database_id, schema, model, state)"
        f" VALUES ('{NOBODY}', '{{tenant_pool}}', '{{database_silo}}', 'public', 'silo', 'building')",
        f"DELETE FROM homes WHERE id = '{NOBODY}'",
        "silo_shared",
    ),
    defect(
        "a tenant migrated past the fleet",
        "control",
        "UPDATE targets SET revision = '{first}' WHERE database_id = '{database_pool}'",
        "UPDATE targets SET revision = '{head}' WHERE database_id = '{database_pool}'",
        "revision_drift",
    ),
    defect(
        "a tenant behind, and the ledger wrong",
        "bridge",
        "UPDATE alembic_version SET version_num = '{first}'",
        "UPDATE alembic_version SET version_num = '{head}'",
        "revision_behind",
        "revision_drift",
    ),
    defect(
        "a tenant ahead",
        "silo",
        "UPDATE alembic_version SET version_num = '9999'",
        "UPDATE alembic_version SET version_num = '{head}'",
        "revision_drift",
        "revision_unknown",
    ),
    defect(
        "a home migrated past the fleet",
        "control",
        "UPDATE databases SET home_revision = 'h0000' WHERE id = '{database_silo}'",
        "UPDATE databases SET home_revision = '{home_head}' WHERE id = '{database_silo}'",
        "revision_drift",
    ),
    defect(
        "a home ahead",
        "silo",
        "UPDATE tenancy.alembic_version SET version_num = 'h9999'",
        "UPDATE tenancy.alembic_version SET version_num = '{home_head}'",
        "revision_drift",
        "revision_unknown",
    ),
    defect(
        "a tenant that nobody makes a home for",
        "control",
        "INSERT INTO tenants (id, slug, name, plan, model, status, created_at)"
        f" VALUES ('{NOBODY}', 'stuck', 'Stuck', 'starter', 'pool', 'provisioning', now() - interval '1 hour')",
        f"DELETE FROM tenants WHERE id = '{NOBODY}'",
        "tenant_stuck",
    ),
    defect(
        "a tenant whose home could not be made",
        "control",
        "INSERT INTO tenants (id, slug, name, plan, model, status, failure)"
        f" VALUES ('{NOBODY}', 'failed', 'Failed', 'starter', 'pool', 'failed', 'no room')",
        f"DELETE FROM tenants WHERE id = '{NOBODY}'",
        "tenant_failed",
    ),
    defect(
        "the control database at another revision",
        "control",
        "UPDATE alembic_version SET version_num = 'c9999'",
        "UPDATE alembic_version SET version_num = '{control_head}'",
        "control_revision",
    ),
    defect(
        "a process of another version",
        "control",
        "INSERT INTO processes (id, kind, place, code_version, revisions)"
        f" VALUES ('{NOBODY}', 'api', 'elsewhere/1', '0.0.1', ARRAY['{{first}}'])",
        f"DELETE FROM processes WHERE id = '{NOBODY}'",
        "process_versions",
    ),
    defect(
        "more connections than the server takes",
        "control",
        "UPDATE servers SET connections = connections + 10000 WHERE name = 'alpha'",
        "UPDATE servers SET connections = connections - 10000 WHERE name = 'alpha'",
        "connection_budget",
    ),
    defect(
        "a server that is not there",
        "control",
        "UPDATE servers SET port = port + 900 WHERE name = 'beta'",
        "UPDATE servers SET port = port - 900 WHERE name = 'beta'",
        "pooler_drift",
        "server_down",
    ),
    defect(
        "a table of the platform's that cannot be read",
        "other silo",
        "ALTER TABLE tenancy.fences RENAME TO hedges",
        "ALTER TABLE tenancy.hedges RENAME TO fences",
        "check_failed",
        "fence_missing",
    ),
)

IN_SQL = (*TABLES, *POLICIES, *FUNCTIONS, *LOGINS, *EVERYBODY, *SERVERS, *ROLL, *MOVES)

HARMLESS = (
    defect(
        "a partition that only its parent reaches",
        "pool",
        (
            OWNER,
            "CREATE TABLE events (tenant_id uuid NOT NULL, id uuid NOT NULL, PRIMARY KEY (tenant_id, id))"
            " PARTITION BY HASH (tenant_id)",
            "CREATE TABLE events_0 PARTITION OF events FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
            "SELECT tenancy.protect('events')",
        ),
        "DROP TABLE events",
    ),
    defect(
        "a view with its caller's rights",
        "bridge",
        (
            OWNER,
            "CREATE VIEW recent WITH (security_invoker = on) AS SELECT * FROM messages",
            "GRANT SELECT ON recent TO {login}",
        ),
        "DROP VIEW recent",
    ),
    defect(
        "a unique index with tenant_id in second place",
        "silo",
        "CREATE UNIQUE INDEX one_email ON users (email, tenant_id)",
        "DROP INDEX one_email",
    ),
    defect("a role without powers", "alpha", "CREATE ROLE analyst LOGIN", "DROP ROLE analyst"),
    defect(
        "a slot that keeps nothing yet",
        "beta",
        "SELECT pg_create_physical_replication_slot('standby')",
        "SELECT pg_drop_replication_slot('standby')",
    ),
    defect(
        "a setting of a database",
        "pool",
        "ALTER DATABASE {login} SET work_mem = '8MB'",
        "ALTER DATABASE {login} RESET work_mem",
    ),
    open_move("a move of an hour", "copying", "NULL, now() - interval '59 minutes', NULL"),
    open_move(
        "a way back whose time has just passed",
        "kept",
        "true, now() - interval '1 day', now() - interval '9 minutes'",
    ),
    open_move(
        "a way back that is kept",
        "kept",
        "true, now() - interval '1 day', now() + interval '1 day'",
    ),
)
