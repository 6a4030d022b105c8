"""The tenancy schema: keys, fences, the signed context and the protection of tenant tables.

A request shows a token: tenant | epoch | mode | expiry | mac. The mac is HMAC-SHA256 over the first four and the name
of the database, under a key that the app cannot read. `enter` checks it, asks the fence, and seals the tenant into a
setting of this transaction alone: the seal is bound to the server process and the transaction's start, so that it is
worth nothing elsewhere.

SQLSTATEs (class CH): 001 bad token, 002 expired, 003 epoch differs, 004 frozen, 005 suspended, 006 closed, 007 no fence
here, 008 no context, 009 not open yet.
"""

from alembic import op

revision = "h0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = (
    """
CREATE TABLE tenancy.keys (
    "only" boolean PRIMARY KEY DEFAULT true CHECK ("only"),
    inner_pad bytea NOT NULL CHECK (length(inner_pad) = 64),
    outer_pad bytea NOT NULL CHECK (length(outer_pad) = 64)
)
""",
    """
CREATE TABLE tenancy.fences (
    tenant_id uuid PRIMARY KEY,
    epoch bigint NOT NULL CHECK (epoch > 0),
    state text NOT NULL CHECK (state IN ('ready', 'open', 'frozen', 'suspended', 'closed')),
    changed_at timestamptz NOT NULL DEFAULT now()
)
""",
    """
CREATE TABLE tenancy.logins (name name PRIMARY KEY)
""",
)

# The advisory lock lets a freeze wait for every transaction that is inside, and keeps later ones out. Above READ
# COMMITTED a snapshot may be older than the freeze: there the row itself is locked, so that the transaction fails
# instead of slipping by.
ENTER = """
CREATE FUNCTION tenancy.enter(token text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    parts text[] := string_to_array(token, '|');
    pads tenancy.keys;
    fence tenancy.fences;
    expected bytea;
BEGIN
    IF cardinality(parts) IS DISTINCT FROM 5 THEN
        RAISE EXCEPTION 'malformed context token' USING ERRCODE = 'CH001';
    END IF;
    SELECT * INTO pads FROM tenancy.keys;
    expected := sha256(pads.outer_pad || sha256(pads.inner_pad || convert_to(
        left(token, -length(parts[5])) || current_database(), 'UTF8')));
    IF pads."only" IS NULL
        OR sha256(convert_to(encode(expected, 'hex'), 'UTF8')) <> sha256(convert_to(parts[5], 'UTF8'))
    THEN
        RAISE EXCEPTION 'context token not signed for this database' USING ERRCODE = 'CH001';
    END IF;
    IF parts[4]::bigint < extract(epoch FROM clock_timestamp()) THEN
        RAISE EXCEPTION 'context token expired' USING ERRCODE = 'CH002';
    END IF;
    PERFORM pg_advisory_xact_lock_shared(hashtextextended(parts[1], 0));
    IF current_setting('transaction_isolation') = 'read committed' THEN
        SELECT * INTO fence FROM tenancy.fences WHERE tenant_id = parts[1]::uuid;
    ELSE
        SELECT * INTO fence FROM tenancy.fences WHERE tenant_id = parts[1]::uuid FOR SHARE;
    END IF;
    IF fence.tenant_id IS NULL THEN
        RAISE EXCEPTION 'no fence of this tenant here' USING ERRCODE = 'CH007';
    ELSIF fence.epoch <> parts[2]::bigint THEN
        RAISE EXCEPTION 'stale epoch' USING ERRCODE = 'CH003';
    ELSIF fence.state = 'frozen' THEN
        RAISE EXCEPTION 'tenant frozen' USING ERRCODE = 'CH004';
    ELSIF fence.state = 'suspended' THEN
        RAISE EXCEPTION 'tenant suspended' USING ERRCODE = 'CH005';
    ELSIF fence.state = 'closed' THEN
        RAISE EXCEPTION 'tenant closed here' USING ERRCODE = 'CH006';
    ELSIF fence.state = 'ready' AND parts[3] <> 'setup' THEN
        RAISE EXCEPTION 'tenant not open yet' USING ERRCODE = 'CH009';
    END IF;
    PERFORM set_config('tenancy.context', parts[1] || encode(sha256(pads.outer_pad || sha256(pads.inner_pad ||
        convert_to('seal|' || parts[1] || '|' || pg_backend_pid() || '|' || extract(epoch FROM now()), 'UTF8')
    )), 'hex'), true);
END
$$
"""

CURRENT_TENANT = """
CREATE FUNCTION tenancy.current_tenant() RETURNS uuid
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    context text := current_setting('tenancy.context', true);
    pads tenancy.keys;
BEGIN
    IF length(context) = 100 THEN
        SELECT * INTO pads FROM tenancy.keys;
        IF right(context, 64) = encode(sha256(pads.outer_pad || sha256(pads.inner_pad ||
            convert_to('seal|' || left(context, 36) || '|' || pg_backend_pid() || '|' || extract(epoch FROM now()),
                'UTF8'))), 'hex') THEN
            RETURN left(context, 36)::uuid;
        END IF;
    END IF;
    RAISE EXCEPTION 'no tenant context' USING ERRCODE = 'CH008';
END
$$
"""

# EXPLAIN estimates by the statistics of all tenants' rows; a search by halves reads the commonest values out of them.
# Ids and times keep theirs: they are no secrets, and plans need them. A revision that adds a column calls it again.
PROTECT = (
    """
CREATE FUNCTION tenancy.conceal(tenant_table regclass) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    content name;
BEGIN
    FOR content IN
        SELECT attname FROM pg_attribute
         WHERE attrelid = tenant_table AND attnum > 0 AND NOT attisdropped
           AND atttypid <> ALL ('{uuid,timestamptz,timestamp,date,bool}'::regtype[])
    LOOP
        EXECUTE format('ALTER TABLE %s ALTER COLUMN %I SET STATISTICS 0', tenant_table, content);
    END LOOP;
END
$$
""",
    """
CREATE FUNCTION tenancy.protect(tenant_table regclass) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    login name;
BEGIN
    PERFORM tenancy.conceal(tenant_table);
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', tenant_table);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', tenant_table);
    EXECUTE format(
        'CREATE POLICY tenant_only ON %s USING (tenant_id = (SELECT tenancy.current_tenant()))'
        ' WITH CHECK (tenant_id = (SELECT tenancy.current_tenant()))', tenant_table);
    FOR login IN SELECT name FROM tenancy.logins LOOP
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO %I', tenant_table, login);
    END LOOP;
END
$$
""",
    """
CREATE FUNCTION tenancy.admit(login name) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    protected record;
BEGIN
    INSERT INTO tenancy.logins VALUES (login) ON CONFLICT DO NOTHING;
    EXECUTE format('GRANT USAGE ON SCHEMA tenancy TO %I', login);
    EXECUTE format('GRANT EXECUTE ON FUNCTION tenancy.enter(text), tenancy.current_tenant() TO %I', login);
    FOR protected IN
        SELECT c.oid::regclass AS name, n.nspname AS schema
          FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE p.polname = 'tenant_only'
    LOOP
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', protected.schema, login);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO %I', protected.name, login);
    END LOOP;
END
$$
""",
)

GRANTS = (
    "REVOKE ALL ON ALL TABLES IN SCHEMA tenancy FROM PUBLIC",
    "REVOKE ALL ON ALL FUNCTIONS IN SCHEMA tenancy FROM PUBLIC",
    "GRANT USAGE ON SCHEMA tenancy TO copyhold_migrator, copyhold_mover, copyhold_backup",
    "GRANT SELECT ON tenancy.fences TO copyhold_backup",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA tenancy TO copyhold_migrator",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON tenancy.fences TO copyhold_mover",
)


def upgrade() -> None:
    """Build it all; the schema itself is made with the database."""
    for statement in (*TABLES, ENTER, CURRENT_TENANT, *PROTECT, *GRANTS):
        op.execute(statement)
