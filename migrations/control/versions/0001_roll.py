"""The roll, the fleet ledger, the audit log, and the feed of route changes."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "c0001"
down_revision = None
branch_labels = None
depends_on = None

# Raised at commit: whoever saw version N has seen every change up to N, and nobody holds the row for long.
FEED = (
    """
INSERT INTO feed VALUES (true, 0)
""",
    # All at once: one by one, the feed's row would be rewritten for each of a pool's hundred thousand tenants.
    """
CREATE FUNCTION announce(changed uuid[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    next bigint;
BEGIN
    IF cardinality(changed) > 0 THEN
        UPDATE feed SET version = version + 1 RETURNING version INTO next;
        INSERT INTO changes (tenant_id, version) SELECT DISTINCT unnest(changed), next
            ON CONFLICT (tenant_id) DO UPDATE SET version = next;
        PERFORM pg_notify('copyhold_roll', '');
    END IF;
END
$$
""",
    """
CREATE FUNCTION tenant_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM announce(ARRAY[(to_jsonb(NEW) ->> TG_ARGV[0])::uuid]);
    RETURN NULL;
END
$$
""",
    """
CREATE FUNCTION target_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM announce(ARRAY(SELECT tenant_id FROM homes
      WHERE database_id = NEW.database_id AND schema = NEW.schema AND state = 'current'));
    RETURN NULL;
END
$$
""",
    """
CREATE FUNCTION database_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM announce(ARRAY(SELECT tenant_id FROM homes WHERE database_id = NEW.id AND state = 'current'));
    RETURN NULL;
END
$$
""",
)

TRIGGERS = (
    ("tenants", "INSERT OR UPDATE", "tenant_changed('id')"),
    ("routes", "INSERT OR UPDATE", "tenant_changed('tenant_id')"),
    ("api_keys", "INSERT OR UPDATE", "tenant_changed('tenant_id')"),
    ("targets", "UPDATE OF revision", "target_changed()"),
    ("databases", "UPDATE OF alias, sealed_password", "database_changed()"),
)

AUDIT = (
    """
CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is append-only';
END
$$
""",
    """
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only()
""",
)


def upgrade() -> None:
    """Build it all."""
    op.create_table(
        "audit_log",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=True),
        sa.Column("facts", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("audit_log_pkey")),
    )
    op.create_index(op.f("audit_log_tenant_id_idx"), "audit_log", ["tenant_id"], unique=False)
    op.create_table(
        "changes",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("changes_pkey")),
    )
    op.create_index(op.f("changes_version_idx"), "changes", ["version"], unique=False)
    op.create_table(
        "feed",
        sa.Column("only", sa.Boolean(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("only", name=op.f("feed_pkey")),
    )
    op.create_table(
        "fleet",
        sa.Column("only", sa.Boolean(), nullable=False),
        sa.Column("home_revision", sa.Text(), nullable=False),
        sa.Column("tenant_revision", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("only", name=op.f("fleet_pkey")),
    )
    op.create_table(
        "migration_runs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("to_revision", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("migration_runs_pkey")),
    )
    op.create_table(
        "progress",
        sa.Column("workflow_id", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("duration_ms", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("workflow_id", "position", name=op.f("progress_pkey")),
    )
    op.create_table(
        "servers",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("models", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("capacity", sa.Integer(), nullable=False),
        sa.Column("connections", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("servers_pkey")),
    )
    op.create_table(
        "staff",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("staff_pkey")),
        sa.UniqueConstraint("email", name=op.f("staff_email_key")),
    )
    op.create_table(
        "tenants",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.Column("wanted_server", sa.Text(), nullable=True),
        sa.Column("wanted_region", sa.Text(), nullable=True),
        sa.Column("workflow_id", sa.Text(), nullable=True),
        sa.Column("stripe_customer_id", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("activated_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("tenants_pkey")),
        sa.UniqueConstraint("slug", name=op.f("tenants_slug_key")),
        sa.UniqueConstraint("stripe_customer_id", name=op.f("tenants_stripe_customer_id_key")),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("secret_sha256", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("api_keys_tenant_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("api_keys_pkey")),
        sa.UniqueConstraint("secret_sha256", name=op.f("api_keys_secret_sha256_key")),
    )
    op.create_index(op.f("api_keys_tenant_id_idx"), "api_keys", ["tenant_id"], unique=False)
    op.create_table(
        "databases",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("server", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("alias", sa.Text(), nullable=False),
        sa.Column("sealed_password", sa.Text(), nullable=True),
        sa.Column("home_revision", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["server"], ["servers.name"], name=op.f("databases_server_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("databases_pkey")),
        sa.UniqueConstraint("alias", name=op.f("databases_alias_key")),
    )
    op.create_index(op.f("databases_server_name_idx"), "databases", ["server", "name"], unique=True)
    op.create_table(
        "pending_owners",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("pending_owners_tenant_id_fkey")),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pending_owners_pkey")),
    )
    op.create_table(
        "plan_changes",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("plan_changes_tenant_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("plan_changes_pkey")),
    )
    op.create_index(op.f("plan_changes_tenant_id_idx"), "plan_changes", ["tenant_id"], unique=False)
    op.create_table(
        "staff_tokens",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("staff_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("secret_sha256", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["staff_id"], ["staff.id"], name=op.f("staff_tokens_staff_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("staff_tokens_pkey")),
        sa.UniqueConstraint("secret_sha256", name=op.f("staff_tokens_secret_sha256_key")),
    )
    op.create_index(op.f("staff_tokens_staff_id_idx"), "staff_tokens", ["staff_id"], unique=False)
    op.create_table(
        "homes",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("database_id", sa.Uuid(), nullable=False),
        sa.Column("schema", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["database_id"], ["databases.id"], name=op.f("homes_database_id_fkey")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("homes_tenant_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("homes_pkey")),
    )
    op.create_index(op.f("homes_database_id_schema_idx"), "homes", ["database_id", "schema"], unique=False)
    op.create_index(
        "homes_one_current", "homes", ["tenant_id"], unique=True, postgresql_where=sa.text("state = 'current'")
    )
    op.create_index(op.f("homes_tenant_id_idx"), "homes", ["tenant_id"], unique=False)
    op.create_table(
        "migration_targets",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("chain", sa.Text(), nullable=False),
        sa.Column("database_id", sa.Uuid(), nullable=False),
        sa.Column("schema", sa.Text(), nullable=False),
        sa.Column("from_revision", sa.Text(), nullable=True),
        sa.Column("to_revision", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("duration_ms", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["database_id"], ["databases.id"], name=op.f("migration_targets_database_id_fkey")),
        sa.ForeignKeyConstraint(["run_id"], ["migration_runs.id"], name=op.f("migration_targets_run_id_fkey")),
        sa.PrimaryKeyConstraint("run_id", "chain", "database_id", "schema", name=op.f("migration_targets_pkey")),
    )
    op.create_index(op.f("migration_targets_run_id_state_idx"), "migration_targets", ["run_id", "state"], unique=False)
    op.create_table(
        "targets",
        sa.Column("database_id", sa.Uuid(), nullable=False),
        sa.Column("schema", sa.Text(), nullable=False),
        sa.Column("revision", sa.Text(), nullable=True),
        sa.Column("checked_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["database_id"], ["databases.id"], name=op.f("targets_database_id_fkey")),
        sa.PrimaryKeyConstraint("database_id", "schema", name=op.f("targets_pkey")),
    )
    op.create_table(
        "routes",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("home_id", sa.Uuid(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["home_id"], ["homes.id"], name=op.f("routes_home_id_fkey")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("routes_tenant_id_fkey")),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("routes_pkey")),
    )
    for statement in (*FEED, *AUDIT):
        op.execute(statement)
    for table, events, function in TRIGGERS:
        op.execute(
            f"CREATE CONSTRAINT TRIGGER announce AFTER {events} ON {table} DEFERRABLE INITIALLY DEFERRED"
            f" FOR EACH ROW EXECUTE FUNCTION {function}"
        )
