-- What schemas consist of: one row an object, with a definition that is the same wherever the same revision was built.
--
-- One query for any number of schemas of a database. Definitions are made by PostgreSQL itself, each with search_path
-- at the object's own schema: CASE is what guarantees that set_config comes before the functions that read it. So a
-- schema's own names are never qualified, and all others are. The app's login, which is named like the
-- database, and the one that takes turns with it are told as `app login`.
--
-- Left out: alembic_version, what belongs to an extension, what another object implies (the index of a constraint, the
-- triggers of a reference, the row type of a table), an index that is being built, the order of columns, and anything
-- that rows hold. Of a column's options those count that a person sets: some servers keep a number of their own there,
-- another for each column.
--
-- Parameters: schemas; owner (the platform's role that owns all of it).
-- Columns: schema, kind, "table" (what the object is part of), name, definition.
WITH place AS MATERIALIZED (
    SELECT oid, nspname AS name, nspowner AS owner, nspacl AS acl, quote_ident(nspname) || ', pg_catalog' AS path
      FROM pg_namespace WHERE nspname = ANY (%(schemas)s::text[])
), role AS MATERIALIZED (
    SELECT oid, CASE WHEN rolname IN (current_database(), current_database() || '_b') THEN 'app login'
                     ELSE rolname END AS name FROM pg_roles
     UNION ALL SELECT 0, 'PUBLIC'
), member AS MATERIALIZED (
    SELECT classid, objid FROM pg_depend WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
), relation AS MATERIALIZED (
    SELECT c.oid, c.relname AS name, c.relkind AS kind, c.relpersistence, c.relowner AS owner, c.relacl AS acl,
           c.reloptions, c.relrowsecurity, c.relforcerowsecurity, c.relreplident, c.relispartition, c.relpartbound,
           place.name AS schema, place.path
      FROM pg_class c JOIN place ON place.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND c.relname <> 'alembic_version'
       AND c.oid NOT IN (SELECT objid FROM member WHERE classid = 'pg_class'::regclass)
), function AS MATERIALIZED (
    SELECT p.*, place.name AS schema, place.path,
           CASE WHEN set_config('search_path', place.path, true) IS NOT NULL
                THEN p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')' END AS signature
      FROM pg_proc p JOIN place ON place.oid = p.pronamespace
     WHERE p.oid NOT IN (SELECT objid FROM member WHERE classid = 'pg_proc'::regclass)
), type AS MATERIALIZED (
    SELECT t.*, place.name AS schema, place.path
      FROM pg_type t JOIN place ON place.oid = t.typnamespace
      LEFT JOIN pg_class c ON c.oid = t.typrelid
     WHERE (t.typtype IN ('d', 'e', 'r') OR c.relkind = 'c')
       AND t.oid NOT IN (SELECT objid FROM member WHERE classid = 'pg_type'::regclass)
), disabled AS MATERIALIZED (
    SELECT DISTINCT tgconstraint AS oid FROM pg_trigger WHERE tgisinternal AND tgenabled <> 'O'
), list AS (
    -- Every access list; where there is none, what PostgreSQL takes it for.
    SELECT schema, name AS "table", '' AS "column", owner, coalesce(acl, acldefault(
               (CASE kind WHEN 'S' THEN 's' ELSE 'r' END)::"char", owner)) AS acl FROM relation
     UNION ALL
    SELECT relation.schema, relation.name, ' (' || a.attname || ')', relation.owner, a.attacl
      FROM relation JOIN pg_attribute a ON a.attrelid = relation.oid AND NOT a.attisdropped AND a.attacl IS NOT NULL
     UNION ALL
    SELECT schema, signature, '', proowner, coalesce(proacl, acldefault('f', proowner)) FROM function
     UNION ALL
    SELECT schema, typname, '', typowner, coalesce(typacl, acldefault('T', typowner)) FROM type
     UNION ALL
    SELECT name, 'this schema', '', owner, coalesce(acl, acldefault('n', owner)) FROM place
), held AS (
    -- public belongs to the database's owner, other schemas to the platform's: what those two may do there is the same.
    SELECT schema, "table",
           CASE WHEN acl.grantee = list.owner THEN 'its owner' ELSE coalesce(role.name, acl.grantee::text) END
               || list."column" AS who,
           acl.privilege_type || CASE WHEN acl.is_grantable THEN ' with grant option' ELSE '' END AS privilege
      FROM list, aclexplode(list.acl) AS acl LEFT JOIN role ON role.oid = acl.grantee
     WHERE list."table" <> 'this schema' OR (acl.grantee <> list.owner AND role.name IS DISTINCT FROM %(owner)s)
)

SELECT place.name AS schema, 'schema' AS kind, NULL::text AS "table", 'this schema' AS name,
       'owned by ' || CASE role.name WHEN 'pg_database_owner' THEN %(owner)s ELSE role.name END AS definition
  FROM place LEFT JOIN role ON role.oid = place.owner

 UNION ALL
SELECT relation.schema,
       CASE relation.kind WHEN 'f' THEN 'foreign table' WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view'
                          WHEN 'S' THEN 'sequence' ELSE 'table' END,
       NULL, relation.name,
       concat_ws(', ', 'owned by ' || role.name,
           CASE WHEN relpersistence <> 'p' THEN 'unlogged' END,
           CASE WHEN kind IN ('r', 'p', 'f') THEN
                    'row-level security ' || CASE WHEN relrowsecurity THEN 'enabled' ELSE 'disabled' END
                        || CASE WHEN relforcerowsecurity THEN ' and forced' ELSE ' and not forced' END END,
           CASE WHEN kind IN ('r', 'p') AND relreplident <> 'd' THEN 'replica identity ' || relreplident::text END,
           'with ' || (SELECT string_agg(option, ' ' ORDER BY option) FROM unnest(reloptions) AS option),
           CASE WHEN kind = 'p' AND set_config('search_path', path, true) IS NOT NULL
                THEN 'partitioned by ' || pg_get_partkeydef(relation.oid) END,
           CASE WHEN relispartition AND set_config('search_path', path, true) IS NOT NULL
                THEN pg_get_expr(relpartbound, relation.oid) END,
           CASE WHEN set_config('search_path', path, true) IS NOT NULL
                THEN 'child of ' || (SELECT string_agg(inhparent::regclass::text, ' ' ORDER BY inhseqno)
                                       FROM pg_inherits WHERE inhrelid = relation.oid) END,
           CASE WHEN kind IN ('v', 'm') AND set_config('search_path', path, true) IS NOT NULL
                THEN 'as ' || pg_get_viewdef(relation.oid) END,
           CASE WHEN kind = 'S' THEN
               (SELECT format('%%s from %%s by %%s, %%s to %%s, cache %%s', format_type(seqtypid, NULL), seqstart,
                              seqincrement, seqmin, seqmax, seqcache) || CASE WHEN seqcycle THEN ', cycle' ELSE '' END
                  FROM pg_sequence WHERE seqrelid = relation.oid) END)
  FROM relation LEFT JOIN role ON role.oid = relation.owner

 UNION ALL
SELECT relation.schema, 'column', relation.name, a.attname,
       CASE WHEN set_config('search_path', path, true) IS NOT NULL THEN
           concat_ws(' ', format_type(a.atttypid, a.atttypmod),
               CASE WHEN a.attcollation <> t.typcollation THEN 'COLLATE ' || a.attcollation::regcollation END,
               CASE WHEN a.attnotnull THEN 'NOT NULL' END,
               CASE a.attidentity WHEN 'a' THEN 'GENERATED ALWAYS AS IDENTITY'
                                  WHEN 'd' THEN 'GENERATED BY DEFAULT AS IDENTITY' END,
               CASE a.attgenerated WHEN '' THEN 'DEFAULT ' ELSE 'GENERATED ALWAYS AS ' END
                   || pg_get_expr(d.adbin, d.adrelid),
               CASE a.attgenerated WHEN 's' THEN 'STORED' WHEN 'v' THEN 'VIRTUAL' END,
               CASE WHEN coalesce(a.attstattarget, -1) <> -1 THEN 'STATISTICS ' || a.attstattarget END,
               CASE WHEN a.attstorage <> t.typstorage THEN 'STORAGE ' || a.attstorage::text END,
               CASE WHEN a.attcompression <> '' THEN 'COMPRESSION ' || a.attcompression::text END,
               'WITH ' || (SELECT string_agg(option, ' ' ORDER BY option) FROM unnest(a.attoptions) AS option
                            WHERE split_part(option, '=', 1) IN ('n_distinct', 'n_distinct_inherited'))) END
  FROM relation
  JOIN pg_attribute a ON a.attrelid = relation.oid AND a.attnum > 0 AND NOT a.attisdropped
  JOIN pg_type t ON t.oid = a.atttypid
  LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
 WHERE relation.kind IN ('r', 'p', 'f')

 UNION ALL
SELECT relation.schema, 'constraint', relation.name, c.conname,
       CASE WHEN set_config('search_path', path, true) IS NOT NULL THEN pg_get_constraintdef(c.oid) END
           || CASE WHEN c.oid IN (SELECT oid FROM disabled) THEN ' (its triggers are disabled)' ELSE '' END
  FROM relation JOIN pg_constraint c ON c.conrelid = relation.oid AND c.contype IN ('c', 'f', 'p', 'u', 'x')

 UNION ALL
SELECT relation.schema, 'index', relation.name, c.relname,
       CASE WHEN set_config('search_path', path, true) IS NOT NULL THEN pg_get_indexdef(i.indexrelid, 0, true) END
           || coalesce(' STATISTICS ' || (
                  SELECT string_agg(a.attnum || ': ' || a.attstattarget, ', ' ORDER BY a.attnum) FROM pg_attribute a
                   WHERE i.indexprs IS NOT NULL AND a.attrelid = i.indexrelid
                     AND coalesce(a.attstattarget, -1) <> -1), '')
           || CASE WHEN i.indisreplident THEN ' REPLICA IDENTITY' ELSE '' END
           || CASE WHEN i.indisvalid THEN '' ELSE ' INVALID' END
  FROM relation
  JOIN pg_index i ON i.indrelid = relation.oid
  JOIN pg_class c ON c.oid = i.indexrelid
 WHERE CASE WHEN i.indisvalid THEN
           i.indexrelid NOT IN (SELECT conindid FROM pg_constraint
                                 WHERE contype IN ('p', 'u', 'x') AND connamespace IN (SELECT oid FROM place))
       ELSE
           i.indexrelid NOT IN (SELECT index_relid FROM pg_stat_progress_create_index
                                 WHERE datname = current_database() AND index_relid IS NOT NULL)
       END

 UNION ALL
SELECT relation.schema, 'policy', relation.name, p.polname,
       CASE WHEN set_config('search_path', path, true) IS NOT NULL THEN
           concat_ws(' ', CASE WHEN NOT p.polpermissive THEN 'RESTRICTIVE' END,
               'FOR ' || CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE'
                                       WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
               'TO ' || (SELECT string_agg(role.name, ', ' ORDER BY role.name)
                           FROM role WHERE role.oid = ANY (p.polroles)),
               'USING (' || pg_get_expr(p.polqual, p.polrelid) || ')',
               'WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')') END
  FROM relation JOIN pg_policy p ON p.polrelid = relation.oid

 UNION ALL
SELECT relation.schema, 'trigger', relation.name, t.tgname,
       CASE WHEN set_config('search_path', path, true) IS NOT NULL THEN pg_get_triggerdef(t.oid, true) END
           || CASE t.tgenabled WHEN 'O' THEN '' WHEN 'D' THEN ' (disabled)'
                               ELSE ' (enabled ' || t.tgenabled::text || ')' END
  FROM relation JOIN pg_trigger t ON t.tgrelid = relation.oid AND NOT t.tgisinternal

 UNION ALL
SELECT relation.schema, 'rule', relation.name, r.rulename,
       CASE WHEN set_config('search_path', path, true) IS NOT NULL THEN pg_get_ruledef(r.oid, true) END
           || CASE r.ev_enabled WHEN 'O' THEN '' ELSE ' (enabled ' || r.ev_enabled::text || ')' END
  FROM relation JOIN pg_rewrite r ON r.ev_class = relation.oid AND r.rulename <> '_RETURN'

 UNION ALL
SELECT relation.schema, 'statistics', relation.name, s.stxname,
       CASE WHEN set_config('search_path', path, true) IS NOT NULL THEN
           concat_ws(' ', s.stxkind::text, 'ON', pg_get_statisticsobjdef_columns(s.oid), s.stxstattarget) END
  FROM relation JOIN pg_statistic_ext s ON s.stxrelid = relation.oid

 UNION ALL
SELECT function.schema, CASE prokind WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate' ELSE 'function' END, NULL,
       signature,
       CASE WHEN set_config('search_path', path, true) IS NOT NULL THEN
           concat_ws(', ', 'owned by ' || role.name, l.lanname,
               'arguments (' || pg_get_function_arguments(function.oid) || ')',
               'returns ' || pg_get_function_result(function.oid),
               CASE provolatile WHEN 'i' THEN 'immutable' WHEN 's' THEN 'stable' ELSE 'volatile' END,
               CASE proparallel WHEN 's' THEN 'parallel safe' WHEN 'r' THEN 'parallel restricted' END,
               CASE WHEN prosecdef THEN 'security definer' END,
               CASE WHEN proleakproof THEN 'leakproof' END,
               CASE WHEN proisstrict THEN 'strict' END,
               CASE WHEN prokind = 'w' THEN 'window' END,
               'cost ' || procost,
               CASE WHEN proretset THEN 'rows ' || prorows END,
               (SELECT string_agg(setting, ', ' ORDER BY setting) FROM (
                    SELECT CASE WHEN each NOT LIKE 'search_path=%%' THEN each
                                ELSE regexp_replace(each, '([=, ])' || literally || '(?=,|$)', '\1this schema')
                           END AS setting
                      FROM unnest(proconfig) AS each,
                           regexp_replace(quote_ident(function.schema), '(\W)', '\\\1', 'g') AS literally) AS settings),
               (SELECT concat_ws(' ', aggtransfn::regproc, aggfinalfn::regproc, aggcombinefn::regproc,
                                 format_type(aggtranstype, NULL), agginitval)
                  FROM pg_aggregate WHERE aggfnoid = function.oid),
               pg_get_function_sqlbody(function.oid),
               'source ' || left(encode(sha256(convert_to(prosrc, 'UTF8')), 'hex'), 32)) END
  FROM function
  JOIN pg_language l ON l.oid = prolang
  LEFT JOIN role ON role.oid = proowner

 UNION ALL
SELECT type.schema, 'type', NULL, typname,
       CASE WHEN set_config('search_path', path, true) IS NOT NULL THEN
           concat_ws(' ', 'owned by ' || role.name || ',',
               CASE typtype WHEN 'd' THEN 'domain ' || format_type(typbasetype, typtypmod) END,
               CASE WHEN typcollation <> 0 THEN 'COLLATE ' || typcollation::regcollation END,
               CASE WHEN typnotnull THEN 'NOT NULL' END,
               'DEFAULT ' || typdefault,
               (SELECT string_agg(quote_ident(conname) || ' ' || pg_get_constraintdef(oid), ', ' ORDER BY conname)
                  FROM pg_constraint WHERE contypid = type.oid AND contype = 'c'),
               'enum ' || (SELECT string_agg(quote_literal(enumlabel), ', ' ORDER BY enumsortorder)
                             FROM pg_enum WHERE enumtypid = type.oid),
               'composite ' || (SELECT string_agg(quote_ident(attname) || ' ' || format_type(atttypid, atttypmod), ', '
                                                  ORDER BY attnum)
                                  FROM pg_attribute WHERE attrelid = typrelid AND attnum > 0 AND NOT attisdropped),
               'range of ' || (SELECT format_type(rngsubtype, NULL) FROM pg_range WHERE rngtypid = type.oid)) END
  FROM type LEFT JOIN role ON role.oid = typowner

 UNION ALL
SELECT place.name, 'extension', NULL, e.extname, 'version ' || e.extversion
  FROM place JOIN pg_extension e ON e.extnamespace = place.oid

 UNION ALL
SELECT schema, 'grant', "table", who, string_agg(DISTINCT privilege, ', ' ORDER BY privilege)
  FROM held GROUP BY schema, "table", who

 UNION ALL
SELECT place.name, 'default privileges', NULL,
       role.name || CASE d.defaclobjtype WHEN 'r' THEN ' on tables' WHEN 'S' THEN ' on sequences'
                                         WHEN 'f' THEN ' on functions' WHEN 'T' THEN ' on types' ELSE ' on schemas' END
                 || CASE WHEN d.defaclnamespace = 0 THEN ' everywhere' ELSE '' END,
       (SELECT string_agg(concat_ws(' ', privilege_type, 'to', grantee.name,
                                    CASE WHEN is_grantable THEN 'with grant option' END),
                          ', ' ORDER BY privilege_type, grantee.name)
          FROM aclexplode(d.defaclacl) AS acl LEFT JOIN role AS grantee ON grantee.oid = acl.grantee)
  FROM pg_default_acl d
  JOIN place ON place.oid = d.defaclnamespace OR (d.defaclnamespace = 0 AND place.name = 'tenancy')
  LEFT JOIN role ON role.oid = d.defaclrole
