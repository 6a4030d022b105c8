-- Every check of a server's and a home's catalogue: one query a check, each over the whole database at once.
--
-- A query returns one row a defect: what it is about (object) and, where that tells more, a detail. Those of scope
-- `home` run in a database that holds tenants and may use the common table expressions of the shared part; those of
-- scope `server` run once a server. All run as a superuser, read only, with search_path = pg_catalog.
--
-- Privileges are read from access lists, not asked of has_..._privilege: what a login has by a membership, by owning
-- or by being a superuser is found once, as that, and not again at every table.
--
-- Parameters: own_logins (the app's in this database, the one that is used first), owner and roles (the platform's),
-- logins (all app logins of the server that are on the roll), policy (the one expression allowed), functions
-- (fingerprints of the chain's), settings (the logins' own), leakproof_cost, taken_names, taken_pattern, taken_views
-- (what nobody but the platform may use).

-- shared
WITH login AS (
    SELECT coalesce(r.oid, 4294967295::oid) AS oid, own.name
      FROM unnest(%(own_logins)s::name[]) AS own (name) LEFT JOIN pg_roles r ON r.rolname = own.name
), owner AS (
    SELECT oid FROM pg_roles WHERE rolname = %(owner)s
), place AS (
    -- Every schema that is not PostgreSQL's own. Tenant tables belong into public and t_<id>, and nowhere else.
    SELECT oid, nspname AS name, nspowner AS owner, nspacl AS acl,
           nspname = 'public' OR nspname ~ '^t_[0-9a-f]{32}$' AS for_tenants
      FROM pg_namespace
     WHERE nspname NOT IN ('pg_catalog', 'information_schema') AND nspname !~ '^pg_(toast|temp)'
), relation AS (
    SELECT c.oid, c.oid::regclass::text AS name, c.relname, c.relkind, c.relowner, c.relacl, c.relrowsecurity,
           c.relforcerowsecurity, c.reloptions, place.oid AS schema, place.name AS schema_name, place.for_tenants
      FROM pg_class c JOIN place ON place.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
), relation_grant AS (
    SELECT relation.oid, acl.grantee, acl.privilege_type, acl.is_grantable, NULL::name AS "column"
      FROM relation, aclexplode(relation.relacl) acl
     WHERE acl.grantee <> relation.relowner
     UNION ALL
    SELECT relation.oid, acl.grantee, acl.privilege_type, acl.is_grantable, a.attname
      FROM relation JOIN pg_attribute a ON a.attrelid = relation.oid AND a.attacl IS NOT NULL AND NOT a.attisdropped,
           aclexplode(a.attacl) acl
     WHERE acl.grantee <> relation.relowner
), reachable AS (
    SELECT g.oid FROM relation_grant g, login WHERE g.grantee IN (0, login.oid)
), tenant_table AS (
    -- IN, not EXISTS: it becomes a hash, and a thousand schemas are still looked through once.
    SELECT relation.*, tenant.attnum AS tenant_id, tenant.atttypid = 'uuid'::regtype AND tenant.attnotnull AS well_typed,
           relation.oid IN (SELECT inhrelid FROM pg_inherits) AS is_child,
           relation.oid IN (SELECT oid FROM reachable) AS is_reachable
      FROM relation
      LEFT JOIN pg_attribute tenant
        ON tenant.attrelid = relation.oid AND tenant.attname = 'tenant_id' AND NOT tenant.attisdropped
     WHERE relkind IN ('r', 'p') AND relname <> 'alembic_version' AND schema_name <> 'tenancy'
       AND (for_tenants OR relation.oid IN (SELECT oid FROM reachable))
), policy AS (
    SELECT p.*, tenant_table.name AS table_name FROM pg_policy p JOIN tenant_table ON tenant_table.oid = p.polrelid
), function AS (
    SELECT p.oid, p.oid::regprocedure::text AS name, p.proname, p.proowner, p.proacl, p.prosecdef, p.proconfig, p.prosrc,
           p.provolatile, p.proparallel, p.proleakproof, p.pronargs, place.name AS schema_name
      FROM pg_proc p JOIN place ON place.oid = p.pronamespace
)

-- fact: tables
SELECT count(*) FROM tenant_table

-- check: tenant_id
-- scope: home
-- severity: error
-- what: tenant table without `tenant_id uuid NOT NULL`
-- remedy: give it the column in a revision, first in its primary key
SELECT name AS object, CASE WHEN tenant_id IS NOT NULL THEN 'the column is nullable or of another type' END AS detail
  FROM tenant_table
 WHERE tenant_id IS NULL OR NOT well_typed

-- check: primary_key
-- scope: home
-- severity: error
-- what: tenant table whose primary key does not begin with tenant_id
-- remedy: make PRIMARY KEY (tenant_id, id) of it in a revision
SELECT t.name AS object, coalesce(pg_get_constraintdef(c.oid), 'it has none') AS detail
  FROM tenant_table t
  LEFT JOIN pg_constraint c ON c.conrelid = t.oid AND c.contype = 'p'
 WHERE t.tenant_id IS NOT NULL AND c.conkey[1] IS DISTINCT FROM t.tenant_id

-- check: unique_key
-- scope: home
-- severity: error
-- what: unique or exclusion index without tenant_id: it tells one tenant what another has
-- remedy: build it anew in a revision with tenant_id as its first column
SELECT t.name AS object, i.indexrelid::regclass::text AS detail
  FROM tenant_table t
  JOIN pg_index i ON i.indrelid = t.oid AND (i.indisunique OR i.indisexclusion) AND NOT i.indisprimary
 WHERE t.tenant_id IS NOT NULL AND t.tenant_id <> ALL ((i.indkey::int2[])[0:i.indnkeyatts - 1])

-- check: foreign_key
-- scope: home
-- severity: error
-- what: foreign key that can lead out of the tenant
-- remedy: make it FOREIGN KEY (tenant_id, …) REFERENCES … (tenant_id, …) within the schema, in a revision
SELECT t.name AS object, c.conname || ' ' || pg_get_constraintdef(c.oid) AS detail
  FROM tenant_table t
  JOIN pg_constraint c ON c.conrelid = t.oid AND c.contype = 'f' AND c.conparentid = 0
  JOIN pg_class other ON other.oid = c.confrelid
 WHERE t.tenant_id IS NOT NULL
   AND (other.relnamespace <> t.schema
        OR NOT EXISTS (
            SELECT FROM unnest(c.conkey, c.confkey) AS pair (mine, theirs)
              JOIN pg_attribute a ON a.attrelid = c.confrelid AND a.attnum = pair.theirs AND a.attname = 'tenant_id'
             WHERE pair.mine = t.tenant_id))

-- check: foreign_key_index
-- scope: home
-- severity: warning
-- what: foreign key without an index that begins with its columns: deletes of what it refers to read the whole table
-- remedy: create the index in a revision, CONCURRENTLY where the table is large
SELECT t.name AS object, c.conname AS detail
  FROM tenant_table t
  JOIN pg_constraint c ON c.conrelid = t.oid AND c.contype = 'f' AND c.conparentid = 0
 WHERE NOT EXISTS (
    SELECT FROM pg_index i
     WHERE i.indrelid = t.oid AND i.indisvalid AND i.indpred IS NULL AND i.indnkeyatts >= cardinality(c.conkey)
       AND (i.indkey::int2[])[0:cardinality(c.conkey) - 1] @> c.conkey)

-- check: index_invalid
-- scope: home
-- severity: warning
-- what: index that was begun CONCURRENTLY and never finished: it is written to and not used
-- remedy: DROP INDEX it, then run the revision again
SELECT t.name AS object, i.indexrelid::regclass::text AS detail
  FROM tenant_table t
  JOIN pg_index i ON i.indrelid = t.oid AND NOT i.indisvalid

-- check: statistics
-- scope: home
-- severity: error
-- what: statistics of what tenants write: EXPLAIN shows everybody's commonest values
-- remedy: SELECT tenancy.conceal('{object}') in the revision that adds a column; ALTER INDEX … SET STATISTICS 0; DROP STATISTICS
SELECT t.name AS object,
       a.attname || CASE WHEN coalesce(a.attstattarget, -1) = 0 THEN ', gathered before it was concealed' ELSE '' END
           AS detail
  FROM tenant_table t
  JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
 WHERE a.atttypid <> ALL ('{uuid,timestamptz,timestamp,date,bool}'::regtype[])
   AND (coalesce(a.attstattarget, -1) <> 0
        OR EXISTS (SELECT FROM pg_statistic s WHERE s.starelid = a.attrelid AND s.staattnum = a.attnum))
 UNION ALL
SELECT t.name, s.stxname || ', made by name'
  FROM tenant_table t JOIN pg_statistic_ext s ON s.stxrelid = t.oid
 UNION ALL
SELECT t.name, i.indexrelid::regclass::text || ', of an index on an expression'
  FROM tenant_table t
  JOIN pg_index i ON i.indrelid = t.oid AND i.indexprs IS NOT NULL
  JOIN pg_attribute a ON a.attrelid = i.indexrelid AND (i.indkey::int2[])[a.attnum - 1] = 0
 WHERE coalesce(a.attstattarget, -1) <> 0

-- check: policy_missing
-- scope: home
-- severity: error
-- what: tenant table without a policy
-- remedy: SELECT tenancy.protect('{object}')
SELECT name AS object, NULL AS detail
  FROM tenant_table
 WHERE NOT is_child AND NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = tenant_table.oid)

-- check: policy_form
-- scope: home
-- severity: error
-- what: policy other than the one that asks tenancy.current_tenant
-- remedy: drop it, then SELECT tenancy.protect('{object}')
SELECT table_name AS object,
       polname || CASE WHEN polpermissive THEN '' ELSE ' (restrictive)' END
               || CASE WHEN polcmd = '*' THEN '' ELSE ' (for some commands only)' END
               || coalesce(' USING ' || pg_get_expr(polqual, polrelid), '')
               || coalesce(' WITH CHECK ' || pg_get_expr(polwithcheck, polrelid), '') AS detail
  FROM policy
 WHERE NOT polpermissive OR polcmd <> '*'
    OR pg_get_expr(polqual, polrelid) IS DISTINCT FROM %(policy)s
    OR pg_get_expr(polwithcheck, polrelid) IS DISTINCT FROM %(policy)s

-- check: policy_role
-- scope: home
-- severity: error
-- what: policy for some roles only: for all others the table is without it
-- remedy: ALTER POLICY … ON {object} TO PUBLIC
SELECT table_name AS object, polname AS detail FROM policy WHERE polroles <> '{0}'

-- check: policy_extra
-- scope: home
-- severity: error
-- what: more than one policy: permissive ones add up
-- remedy: drop all but tenant_only
SELECT table_name AS object, string_agg(polname, ', ' ORDER BY polname) AS detail
  FROM policy
 GROUP BY table_name HAVING count(*) > 1

-- check: rls_disabled
-- scope: home
-- severity: error
-- what: row-level security is switched off
-- remedy: ALTER TABLE {object} ENABLE ROW LEVEL SECURITY
SELECT name AS object, NULL AS detail FROM tenant_table WHERE NOT is_child AND NOT relrowsecurity

-- check: rls_not_forced
-- scope: home
-- severity: error
-- what: row-level security is not forced: it does not hold for the table's owner
-- remedy: ALTER TABLE {object} FORCE ROW LEVEL SECURITY
SELECT name AS object, NULL AS detail FROM tenant_table WHERE NOT is_child AND NOT relforcerowsecurity

-- check: child_unprotected
-- scope: home
-- severity: error
-- what: partition or child table that the app reaches past its parent's row-level security
-- remedy: SELECT tenancy.protect('{object}'), or revoke all grants on it
SELECT name AS object, NULL AS detail
  FROM tenant_table t
 WHERE is_child AND is_reachable
   AND NOT (relrowsecurity AND relforcerowsecurity AND EXISTS (SELECT FROM pg_policy WHERE polrelid = t.oid))

-- check: owner
-- scope: home
-- severity: error
-- what: owned by another role than the platform's
-- remedy: as a superuser: ALTER … OWNER TO copyhold_owner, for {object}
SELECT thing.name AS object, thing.owner::regrole::text AS detail
  FROM (
    SELECT 'pg_class'::regclass AS class, oid, name, relowner AS owner FROM relation
     UNION ALL
    SELECT 'pg_proc'::regclass, oid, name, proowner FROM function
     UNION ALL
    SELECT 'pg_namespace'::regclass, oid, 'schema ' || name, owner FROM place WHERE name <> 'public'
  ) AS thing
 WHERE thing.owner NOT IN (SELECT oid FROM owner)
   AND NOT EXISTS (
    SELECT FROM pg_depend d WHERE d.classid = thing.class AND d.objid = thing.oid AND d.deptype = 'e')

-- check: view_invoker
-- scope: home
-- severity: error
-- what: view that reads with its owner's rights
-- remedy: ALTER VIEW {object} SET (security_invoker = true)
SELECT name AS object, NULL AS detail
  FROM relation
 WHERE relkind = 'v' AND NOT coalesce(
    (SELECT option_value::boolean FROM pg_options_to_table(reloptions) WHERE option_name = 'security_invoker'), false)

-- check: materialised_view
-- scope: home
-- severity: error
-- what: materialised view: no policy holds for it
-- remedy: drop it; keep what it held in a tenant table
SELECT name AS object, NULL AS detail FROM relation WHERE relkind = 'm'

-- check: foreign_table
-- scope: home
-- severity: error
-- what: foreign table: no policy holds for it
-- remedy: drop it
SELECT name AS object, NULL AS detail FROM relation WHERE relkind = 'f'

-- check: table_rule
-- scope: home
-- severity: error
-- what: rewrite rule on a table: what it does is done with the owner's rights
-- remedy: DROP RULE … ON {object}
SELECT relation.name AS object, r.rulename AS detail
  FROM relation JOIN pg_rewrite r ON r.ev_class = relation.oid AND relation.relkind IN ('r', 'p')

-- check: table_trigger
-- scope: home
-- severity: warning
-- what: trigger whose function belongs to another role than the platform's
-- remedy: drop it, or have its function owned by copyhold_owner through a revision
SELECT relation.name AS object, t.tgname || ' calls ' || t.tgfoid::regprocedure::text AS detail
  FROM relation
  JOIN pg_trigger t ON t.tgrelid = relation.oid AND NOT t.tgisinternal
  JOIN pg_proc p ON p.oid = t.tgfoid
 WHERE p.proowner NOT IN (SELECT oid FROM owner)

-- check: event_trigger
-- scope: home
-- severity: warning
-- what: event trigger: it runs inside the platform's own statements
-- remedy: DROP EVENT TRIGGER {object}, unless it is meant
SELECT quote_ident(evtname) AS object, evtevent || ' calls ' || evtfoid::regprocedure::text AS detail
  FROM pg_event_trigger

-- check: sequence
-- scope: home
-- severity: warning
-- what: sequence: it shows tenants each other's pace, and a move does not carry it
-- remedy: use keys made in the app (UUIDv7)
SELECT name AS object, NULL AS detail FROM relation WHERE relkind = 'S' AND for_tenants

-- check: large_object
-- scope: home
-- severity: warning
-- what: large objects: they belong to a role, not to a tenant, and no policy holds for them
-- remedy: lo_unlink them; keep contents in a tenant table
SELECT 'pg_largeobject' AS object, count(*)::text AS detail FROM pg_largeobject_metadata HAVING count(*) > 0

-- check: function_altered
-- scope: home
-- severity: error
-- what: the tenancy schema's functions are not those of its revision
-- remedy: put back what migrations/home says, then find out who changed it
SELECT 'tenancy.' || split_part(key, '/', 1) AS object,
       CASE WHEN there.print IS NULL THEN 'missing' WHEN wanted.print IS NULL THEN 'not of the chain'
            ELSE 'its body, volatility or security is another' END AS detail
  FROM (
    SELECT concat_ws('/', proname, pronargs) AS key,
           concat_ws('/', proname, pronargs, provolatile, proparallel, prosecdef::text, proleakproof::text,
                     encode(sha256(convert_to(prosrc, 'UTF8')), 'hex')) AS print
      FROM function WHERE schema_name = 'tenancy'
  ) AS there
  FULL JOIN (
    SELECT split_part(print, '/', 1) || '/' || split_part(print, '/', 2) AS key, print
      FROM unnest(%(functions)s::text[]) AS print
  ) AS wanted USING (key)
 WHERE there.print IS DISTINCT FROM wanted.print AND %(functions)s::text[] IS NOT NULL

-- check: definer_function
-- scope: home
-- severity: error
-- what: function that runs with its owner's rights and is none of the platform's
-- remedy: ALTER FUNCTION {object} SECURITY INVOKER, or drop it
SELECT name AS object, NULL AS detail
  FROM function
 WHERE prosecdef AND NOT (schema_name = 'tenancy' AND proname IN ('enter', 'current_tenant'))

-- check: definer_search_path
-- scope: home
-- severity: error
-- what: function that runs with its owner's rights on its caller's search_path
-- remedy: ALTER FUNCTION {object} SET search_path = pg_catalog, pg_temp
SELECT name AS object, NULL AS detail
  FROM function
 WHERE prosecdef AND NOT EXISTS (
    SELECT FROM unnest(proconfig) AS setting
     WHERE setting = 'search_path=pg_catalog, pg_temp' OR (schema_name <> 'tenancy' AND setting ~ '^search_path=.'))

-- check: login_missing
-- scope: home
-- severity: error
-- what: the app has no login here
-- remedy: CREATE ROLE {object} LOGIN, or ALTER it; Builder.admit in provisioning/databases.py grants it what it needs
SELECT login.name::text AS object, NULL AS detail
  FROM login
 WHERE login.name = (%(own_logins)s::name[])[1]
   AND NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = login.oid AND r.rolcanlogin)

-- check: login_attributes
-- scope: home
-- severity: error
-- what: the app's login is more than a login
-- remedy: ALTER ROLE {object} NOSUPERUSER NOBYPASSRLS NOCREATEROLE NOCREATEDB NOREPLICATION
SELECT quote_ident(rolname) AS object,
       concat_ws(', ', CASE WHEN rolsuper THEN 'superuser' END, CASE WHEN rolbypassrls THEN 'bypasses row-level security' END,
                 CASE WHEN rolcreaterole THEN 'makes roles' END, CASE WHEN rolcreatedb THEN 'makes databases' END,
                 CASE WHEN rolreplication THEN 'replicates' END) AS detail
  FROM pg_roles
 WHERE rolname = ANY (%(own_logins)s) AND (rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication)

-- check: login_membership
-- scope: home
-- severity: error
-- what: the app's login stands in a membership
-- remedy: REVOKE it
SELECT roleid::regrole::text || ' > ' || member::regrole::text AS object,
       CASE WHEN member = login.oid THEN 'it may become the other' ELSE 'the other may become it' END AS detail
  FROM pg_auth_members, login
 WHERE login.oid IN (member, roleid) AND (member = login.oid OR member <> current_user::regrole)

-- check: login_owns
-- scope: home
-- severity: error
-- what: the app's login owns something, and may do with it as it likes
-- remedy: ALTER … OWNER TO copyhold_owner
SELECT CASE WHEN d.dbid IN (0, here.oid) THEN pg_describe_object(d.classid, d.objid, d.objsubid)
            ELSE 'something in database ' || coalesce(elsewhere.datname, d.dbid::text) END AS object,
       NULL AS detail
  FROM login, pg_shdepend d
  JOIN pg_database here ON here.datname = current_database()
  LEFT JOIN pg_database elsewhere ON elsewhere.oid = d.dbid
 WHERE d.refclassid = 'pg_authid'::regclass AND d.deptype = 'o' AND d.refobjid = login.oid

-- check: login_settings
-- scope: home
-- severity: error
-- what: the app's login has other settings than it was given: whoever is inside may have made them for all who follow
-- remedy: ALTER ROLE {object} RESET ALL, then SET statement_timeout and idle_in_transaction_session_timeout again
SELECT quote_ident(r.rolname) AS object, difference.detail
  FROM pg_roles r, LATERAL (
    SELECT coalesce(there.setting, 'without ' || wanted.setting) AS detail
      FROM (
        SELECT CASE WHEN setdatabase = 0 THEN '' ELSE 'in one database: ' END || unnest(setconfig) AS setting
          FROM pg_db_role_setting WHERE setrole = r.oid
      ) AS there
      FULL JOIN unnest(%(settings)s::text[]) AS wanted (setting) USING (setting)
     WHERE there.setting IS NULL OR wanted.setting IS NULL
  ) AS difference
 WHERE r.oid IN (SELECT oid FROM login)

-- check: login_privileges
-- scope: home
-- severity: error
-- what: the app's login may do more than SELECT, INSERT, UPDATE and DELETE
-- remedy: REVOKE it ON {object} FROM the login; policies do not hold for TRUNCATE, REFERENCES and TRIGGER
SELECT relation.name AS object,
       g.privilege_type || coalesce(' (' || g."column" || ')', '')
                        || CASE WHEN g.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END AS detail
  FROM login JOIN relation_grant g ON g.grantee = login.oid JOIN relation ON relation.oid = g.oid
 WHERE relation.relkind <> 'S' AND (g.is_grantable OR g.privilege_type NOT IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE'))

-- check: login_platform_table
-- scope: home
-- severity: error
-- what: the app's login reaches a table of the platform's own
-- remedy: REVOKE ALL ON {object} FROM the login; after a look into tenancy.keys the master key has to be changed
SELECT relation.name AS object, string_agg(g.privilege_type, ', ' ORDER BY g.privilege_type) AS detail
  FROM login JOIN relation_grant g ON g.grantee = login.oid JOIN relation ON relation.oid = g.oid
 WHERE relation.schema_name = 'tenancy' OR relation.relname = 'alembic_version'
 GROUP BY relation.name

-- check: login_function
-- scope: home
-- severity: error
-- what: the app's login may call a function of the platform's own
-- remedy: REVOKE EXECUTE ON FUNCTION {object} FROM the login
SELECT function.name AS object, NULL AS detail
  FROM login, function, aclexplode(function.proacl) acl
 WHERE acl.grantee = login.oid AND acl.grantee <> function.proowner AND function.schema_name = 'tenancy'
   AND function.proname NOT IN ('enter', 'current_tenant')

-- check: login_schema
-- scope: home
-- severity: error
-- what: the app's login may create in a schema
-- remedy: REVOKE CREATE ON SCHEMA {object} FROM the login
SELECT quote_ident(n.nspname) AS object, NULL AS detail
  FROM login, pg_namespace n, aclexplode(n.nspacl) acl
 WHERE acl.grantee = login.oid AND acl.grantee <> n.nspowner AND (acl.privilege_type = 'CREATE' OR acl.is_grantable)

-- check: login_database
-- scope: home
-- severity: error
-- what: the app's login may do more to a database than connect to its own
-- remedy: REVOKE it ON DATABASE {object} FROM the login
SELECT quote_ident(d.datname) AS object, acl.privilege_type AS detail
  FROM login, pg_database d, aclexplode(d.datacl) acl
 WHERE acl.grantee = login.oid AND acl.grantee <> d.datdba
   AND (acl.privilege_type <> 'CONNECT' OR acl.is_grantable OR d.datname <> current_database())

-- check: login_parameter
-- scope: home
-- severity: error
-- what: a parameter that only superusers set may be set by the app's login
-- remedy: REVOKE ALL ON PARAMETER {object} FROM the login (and FROM PUBLIC)
SELECT p.parname AS object, acl.privilege_type AS detail
  FROM login, pg_parameter_acl p, aclexplode(p.paracl) acl
 WHERE acl.grantee IN (0, login.oid)

-- check: taken_function
-- scope: home
-- severity: error
-- what: a function that tenants could use against each other may be called by the app's login
-- remedy: REVOKE EXECUTE ON FUNCTION {object} FROM PUBLIC (and FROM the login)
SELECT p.oid::regprocedure::text AS object, NULL AS detail
  FROM login, pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) acl
 WHERE p.pronamespace = 'pg_catalog'::regnamespace
   AND (p.proname = ANY (%(taken_names)s) OR p.proname ~ %(taken_pattern)s) AND acl.grantee IN (0, login.oid)

-- check: taken_view
-- scope: home
-- severity: error
-- what: other sessions' statements, and the context tokens in them, can be read by the app's login
-- remedy: REVOKE ALL ON {object} FROM PUBLIC (and FROM the login)
SELECT DISTINCT c.oid::regclass::text AS object, NULL AS detail
  FROM login, pg_class c
  JOIN pg_attribute a ON a.attrelid = c.oid,
       aclexplode(coalesce(c.relacl, '{}') || coalesce(a.attacl, '{}')) acl
 WHERE c.relnamespace = 'pg_catalog'::regnamespace AND c.relname = ANY (%(taken_views)s)
   AND acl.grantee IN (0, login.oid)

-- check: language_usage
-- scope: home
-- severity: error
-- what: the app's login may write procedures (DO): a statement that was slipped in could catch the cancel that ends it
-- remedy: REVOKE USAGE ON LANGUAGE {object} FROM PUBLIC (and FROM the login)
SELECT quote_ident(l.lanname) AS object, NULL AS detail
  FROM login, pg_language l, aclexplode(coalesce(l.lanacl, acldefault('l', l.lanowner))) acl
 WHERE l.lanispl AND acl.grantee IN (0, login.oid)

-- check: leakproof_function
-- scope: home
-- severity: error
-- what: leakproof function that is called before the policy, and so with every tenant's rows
-- remedy: ALTER FUNCTION {object} COST what provisioning/roles.py says; NOT LEAKPROOF for one that is not PostgreSQL's
SELECT p.oid::regprocedure::text AS object, 'cost ' || p.procost AS detail
  FROM pg_proc p
 WHERE p.proleakproof AND p.prokind = 'f'
   AND (p.procost < %(leakproof_cost)s OR p.pronamespace IN (SELECT oid FROM place))

-- check: public_schema
-- scope: home
-- severity: error
-- what: everybody may use, or create in, a schema
-- remedy: REVOKE ALL ON SCHEMA {object} FROM PUBLIC
SELECT quote_ident(n.nspname) AS object, string_agg(acl.privilege_type, ', ' ORDER BY acl.privilege_type) AS detail
  FROM pg_namespace n, aclexplode(n.nspacl) acl
 WHERE acl.grantee = 0 AND (acl.privilege_type = 'CREATE' OR n.oid IN (SELECT oid FROM place))
 GROUP BY n.nspname

-- check: public_table
-- scope: home
-- severity: error
-- what: everybody has a privilege on it
-- remedy: REVOKE ALL ON {object} FROM PUBLIC
SELECT relation.name AS object, string_agg(DISTINCT g.privilege_type, ', ' ORDER BY g.privilege_type) AS detail
  FROM relation_grant g JOIN relation ON relation.oid = g.oid
 WHERE g.grantee = 0
 GROUP BY relation.name

-- check: public_function
-- scope: home
-- severity: error
-- what: everybody may call a function of the tenancy schema
-- remedy: REVOKE ALL ON FUNCTION {object} FROM PUBLIC
SELECT function.name AS object, NULL AS detail
  FROM function, aclexplode(coalesce(function.proacl, acldefault('f', function.proowner))) acl
 WHERE function.schema_name = 'tenancy' AND acl.grantee = 0

-- check: foreign_grant
-- scope: home
-- severity: warning
-- what: a role that is none of the platform's has a privilege
-- remedy: REVOKE it, unless it is meant
SELECT DISTINCT thing.name AS object, thing.grantee::regrole::text AS detail
  FROM (
    SELECT relation.name, g.grantee FROM relation_grant g JOIN relation ON relation.oid = g.oid
     UNION ALL
    SELECT 'database ' || d.datname, acl.grantee FROM pg_database d, aclexplode(d.datacl) acl
     WHERE d.datname = current_database() AND acl.grantee <> d.datdba
  ) AS thing
 WHERE thing.grantee <> 0 AND thing.grantee NOT IN (SELECT oid FROM login)
   AND thing.grantee NOT IN (SELECT oid FROM pg_roles WHERE rolname = ANY (%(roles)s))

-- check: default_privileges
-- scope: home
-- severity: warning
-- what: whatever is made from now on is granted to everybody or to the app's login at once
-- remedy: ALTER DEFAULT PRIVILEGES … REVOKE it; tenancy.protect gives what is needed
SELECT coalesce('schema ' || n.nspname, 'every schema') AS object,
       acl.privilege_type || CASE d.defaclobjtype WHEN 'r' THEN ' on tables' WHEN 'S' THEN ' on sequences'
           WHEN 'f' THEN ' on functions' WHEN 'n' THEN ' on schemas' ELSE ' on types' END
           || ' made by ' || d.defaclrole::regrole::text AS detail
  FROM login, pg_default_acl d LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace, aclexplode(d.defaclacl) acl
 WHERE acl.grantee IN (0, login.oid)

-- check: public_database
-- scope: server
-- severity: error
-- what: everybody on the server may connect to the database, or make temporary tables in it
-- remedy: REVOKE ALL ON DATABASE {object} FROM PUBLIC
SELECT quote_ident(d.datname) AS object, string_agg(acl.privilege_type, ', ' ORDER BY acl.privilege_type) AS detail
  FROM pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) acl
 WHERE acl.grantee = 0 AND d.datallowconn
 GROUP BY d.datname

-- check: platform_role
-- scope: server
-- severity: error
-- what: a role of the platform's is not as it was made
-- remedy: put it back as provisioning/roles.py has it (`copyhold up` makes a missing one)
SELECT wanted.name AS object,
       CASE WHEN r.oid IS NULL THEN 'it is missing' ELSE 'it has other attributes' END AS detail
  FROM (VALUES ('copyhold_owner', false, false, false), ('copyhold_migrator', true, false, true),
               ('copyhold_mover', true, true, true), ('copyhold_backup', true, false, true)
       ) AS wanted (name, login, replication, bypass)
  LEFT JOIN pg_roles r ON r.rolname = wanted.name
 WHERE r.oid IS NULL
    OR (r.rolcanlogin, r.rolreplication, r.rolbypassrls, r.rolsuper, r.rolcreaterole, r.rolcreatedb)
       IS DISTINCT FROM (wanted.login, wanted.replication, wanted.bypass, false, false, false)
 UNION ALL
SELECT coalesce(there.member, wanted.member),
       CASE WHEN there.member IS NULL THEN 'it is not a member of ' || wanted.role
            ELSE 'it is a member of ' || there.role END
  FROM (
    SELECT roleid::regrole::text AS role, member::regrole::text AS member FROM pg_auth_members
     WHERE (member::regrole::text = ANY (%(roles)s) OR roleid::regrole::text = ANY (%(roles)s))
       AND member::regrole::text <> ALL (%(logins)s) AND member::regrole::text <> %(admin)s
  ) AS there
  FULL JOIN (VALUES ('copyhold_owner', 'copyhold_migrator'), ('copyhold_owner', 'copyhold_mover'),
                    ('pg_read_all_data', 'copyhold_backup')) AS wanted (role, member) USING (role, member)
 WHERE there.member IS NULL OR wanted.member IS NULL

-- check: role_powers
-- scope: server
-- severity: warning
-- what: a role that is none of the platform's can see every tenant's rows, or make itself able to
-- remedy: take the attribute away, unless it is meant
SELECT quote_ident(rolname) AS object,
       concat_ws(', ', CASE WHEN rolsuper THEN 'superuser' END, CASE WHEN rolbypassrls THEN 'bypasses row-level security' END,
                 CASE WHEN rolcreaterole THEN 'makes roles' END, CASE WHEN rolreplication THEN 'replicates' END) AS detail
  FROM pg_roles
 WHERE rolname <> ALL (%(roles)s) AND rolname <> ALL (%(logins)s) AND rolname !~ '^pg_'
   AND (rolsuper OR rolbypassrls OR rolcreaterole OR rolreplication)

-- check: slot_foreign
-- scope: server
-- severity: warning
-- what: a replication slot that is of no move keeps the server's log, for as long as nobody reads it
-- remedy: find out who is to read it; if nobody is, as a superuser: SELECT pg_drop_replication_slot('{object}')
-- One that is read as fast as the server writes is a standby's, say. From 'extended' on it keeps more than max_wal_size.
SELECT slot_name AS object,
       concat_ws(', ', CASE WHEN NOT active THEN 'nobody reads it' END,
                 'it keeps ' || pg_size_pretty(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn))) AS detail
  FROM pg_replication_slots
 WHERE NOT temporary AND slot_name !~ '^(mv|un)_[0-9a-f]{32}$' AND restart_lsn IS NOT NULL AND wal_status <> 'lost'
   AND (NOT active OR wal_status <> 'reserved')

-- check: template_open
-- scope: server
-- severity: error
-- what: a template accepts connections: one session makes every new silo wait, then fail
-- remedy: ALTER DATABASE {object} ALLOW_CONNECTIONS false
SELECT quote_ident(datname) AS object, NULL AS detail
  FROM pg_database
 WHERE datname ~ '^template_' AND datallowconn

-- check: access_rules
-- scope: server
-- severity: error
-- what: pg_hba.conf lets somebody in as anybody, without a proof
-- remedy: take the line out of pg_hba.conf, or ask for scram-sha-256 in it
SELECT 'pg_hba.conf, line ' || line_number AS object,
       coalesce(error, concat_ws(' ', type, array_to_string(database, ','), array_to_string(user_name, ','), auth_method))
           AS detail
  FROM pg_hba_file_rules
 WHERE error IS NOT NULL
    OR (auth_method = 'trust' AND (type <> 'local' OR ('all' = ANY (user_name) AND NOT database <@ '{sameuser}')))
