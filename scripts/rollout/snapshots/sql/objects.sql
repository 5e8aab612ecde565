-- Every object of the catalogue that a dump carries, as (identity, definition). Members of extensions are left out, so are
-- indexes that pg_dump leaves out (invalid), and names of valid NOT NULL constraints (the column says it).
WITH
own_schema AS (
    SELECT n.oid, n.nspname, n.nspowner, n.nspacl FROM pg_catalog.pg_namespace AS n
    WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
),
member AS (SELECT d.classid, d.objid FROM pg_catalog.pg_depend AS d WHERE d.deptype = 'e'),
relation AS (
    SELECT c.*, format('%I.%I', n.nspname, c.relname) AS identity
    FROM pg_catalog.pg_class AS c JOIN own_schema AS n ON n.oid = c.relnamespace
    WHERE c.relpersistence <> 't'
      AND NOT EXISTS (SELECT FROM member AS m WHERE m.classid = 'pg_catalog.pg_class'::regclass AND m.objid = c.oid)
),
routine AS (
    SELECT p.*, format('%I.%I(%s)', n.nspname, p.proname, pg_catalog.pg_get_function_identity_arguments(p.oid)) AS identity
    FROM pg_catalog.pg_proc AS p JOIN own_schema AS n ON n.oid = p.pronamespace
    WHERE NOT EXISTS (SELECT FROM member AS m WHERE m.classid = 'pg_catalog.pg_proc'::regclass AND m.objid = p.oid)
),
kind AS (
    SELECT t.*, format('%I.%I', n.nspname, t.typname) AS identity
    FROM pg_catalog.pg_type AS t JOIN own_schema AS n ON n.oid = t.typnamespace
    WHERE t.typtype IN ('e', 'd', 'r')
      AND NOT EXISTS (SELECT FROM member AS m WHERE m.classid = 'pg_catalog.pg_type'::regclass AND m.objid = t.oid)
),
privilege (identity, owner, acl) AS (
    SELECT 'schema ' || quote_ident(nspname), nspowner, coalesce(nspacl, acldefault('n', nspowner)) FROM own_schema
    UNION ALL
    SELECT 'relation ' || identity, relowner, coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner))
    FROM relation WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    UNION ALL
    SELECT 'column ' || r.identity || '.' || quote_ident(a.attname), r.relowner, a.attacl
    FROM relation AS r JOIN pg_catalog.pg_attribute AS a ON a.attrelid = r.oid WHERE a.attacl IS NOT NULL AND NOT a.attisdropped
    UNION ALL
    SELECT 'routine ' || identity, proowner, coalesce(proacl, acldefault('f', proowner)) FROM routine
    UNION ALL
    SELECT 'type ' || identity, typowner, coalesce(typacl, acldefault('T', typowner)) FROM kind
    UNION ALL
    SELECT format('default %s %s %s', pg_get_userbyid(defaclrole), defaclnamespace::regnamespace, defaclobjtype), defaclrole, defaclacl
    FROM pg_catalog.pg_default_acl
)
SELECT 'schema ' || quote_ident(nspname) AS identity, coalesce(obj_description(oid, 'pg_namespace'), '') AS definition
FROM own_schema
UNION ALL
SELECT 'grants on ' || p.identity, concat_ws('; ', 'owner ' || pg_get_userbyid(p.owner),
    (SELECT string_agg(format('%s %s%s by %s', CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee) END,
                a.privilege_type, CASE WHEN a.is_grantable THEN ' grantable' ELSE '' END, pg_get_userbyid(a.grantor)), ', '
             ORDER BY a.grantee = 0, pg_get_userbyid(a.grantee) COLLATE "C", a.privilege_type COLLATE "C")
     FROM aclexplode(p.acl) AS a))
FROM privilege AS p
UNION ALL
SELECT 'relation ' || r.identity, concat_ws('; ', r.relkind, r.relpersistence, am.amname, r.reloptions::text,
    'rls ' || r.relrowsecurity || r.relforcerowsecurity, 'replica identity ' || r.relreplident::text, 'populated ' || r.relispopulated,
    CASE WHEN r.relkind = 'p' THEN pg_get_partkeydef(r.oid) END,
    CASE WHEN r.relispartition THEN pg_get_expr(r.relpartbound, r.oid) END,
    (SELECT 'of ' || string_agg(i.inhparent::regclass::text, ', ' ORDER BY i.inhseqno) FROM pg_catalog.pg_inherits AS i WHERE i.inhrelid = r.oid),
    CASE WHEN r.relkind IN ('v', 'm') THEN pg_get_viewdef(r.oid) END,
    obj_description(r.oid, 'pg_class'))
FROM relation AS r LEFT JOIN pg_catalog.pg_am AS am ON am.oid = r.relam
WHERE r.relkind IN ('r', 'p', 'v', 'm', 'f')
UNION ALL
SELECT format('column %s.%I', r.identity, a.attname), concat_ws('; ',
    row_number() OVER (PARTITION BY r.oid ORDER BY a.attnum), format_type(a.atttypid, a.atttypmod),
    CASE WHEN a.attnotnull THEN 'not null' END, 'identity ' || a.attidentity::text, 'generated ' || a.attgenerated::text,
    pg_get_expr(d.adbin, d.adrelid), a.attstorage, a.attcompression, 'statistics ' || nullif(a.attstattarget, -1),
    -- Only what ALTER TABLE can set: some builds keep marks of their own here.
    (SELECT array_agg(o ORDER BY o)::text FROM unnest(a.attoptions) AS o WHERE o ~ '^n_distinct(_inherited)?='),
    (SELECT o.collname FROM pg_catalog.pg_collation AS o WHERE o.oid = a.attcollation), col_description(r.oid, a.attnum))
FROM relation AS r
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = r.oid
LEFT JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attnum > 0 AND NOT a.attisdropped AND r.relkind IN ('r', 'p', 'v', 'm', 'f', 'c')
UNION ALL
SELECT format('constraint %I on %s', k.conname, coalesce(r.identity, t.identity)), concat_ws('; ',
    pg_get_constraintdef(k.oid), CASE WHEN NOT k.convalidated THEN 'not validated' END,
    CASE WHEN k.conislocal THEN 'local' END, obj_description(k.oid, 'pg_constraint'))
FROM pg_catalog.pg_constraint AS k
LEFT JOIN relation AS r ON r.oid = k.conrelid
LEFT JOIN kind AS t ON t.oid = k.contypid
WHERE (r.oid IS NOT NULL OR t.oid IS NOT NULL) AND (k.contype <> 'n' OR NOT k.convalidated)
UNION ALL
SELECT 'index ' || r.identity, concat_ws('; ', pg_get_indexdef(i.indexrelid), CASE WHEN i.indisclustered THEN 'clustered' END,
    CASE WHEN i.indisreplident THEN 'replica identity' END,
    (SELECT 'of ' || h.inhparent::regclass FROM pg_catalog.pg_inherits AS h WHERE h.inhrelid = r.oid), obj_description(r.oid, 'pg_class'))
FROM relation AS r JOIN pg_catalog.pg_index AS i ON i.indexrelid = r.oid
WHERE i.indisvalid OR r.relkind = 'I'
UNION ALL
SELECT 'sequence ' || r.identity, concat_ws('; ', format_type(s.seqtypid, NULL), s.seqstart, s.seqincrement, s.seqmin, s.seqmax,
    s.seqcache, s.seqcycle, r.relpersistence,
    (SELECT format('%s.%I', d.refobjid::regclass, a.attname) FROM pg_catalog.pg_depend AS d
     JOIN pg_catalog.pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
     WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = r.oid AND d.deptype IN ('a', 'i')
       AND d.refclassid = 'pg_catalog.pg_class'::regclass))
FROM relation AS r JOIN pg_catalog.pg_sequence AS s ON s.seqrelid = r.oid
UNION ALL
SELECT format('policy %I on %s', p.polname, r.identity), concat_ws('; ', p.polcmd, p.polpermissive,
    (SELECT string_agg(CASE q.oid WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(q.oid) END, ', ' ORDER BY 1) FROM unnest(p.polroles) AS q (oid)),
    'using ' || pg_get_expr(p.polqual, p.polrelid), 'check ' || pg_get_expr(p.polwithcheck, p.polrelid))
FROM pg_catalog.pg_policy AS p JOIN relation AS r ON r.oid = p.polrelid
UNION ALL
SELECT format('trigger %I on %s', t.tgname, r.identity), concat_ws('; ', pg_get_triggerdef(t.oid), 'enabled ' || t.tgenabled::text)
FROM pg_catalog.pg_trigger AS t JOIN relation AS r ON r.oid = t.tgrelid
WHERE NOT t.tgisinternal
UNION ALL
SELECT format('rule %I on %s', u.rulename, r.identity), concat_ws('; ', pg_get_ruledef(u.oid), 'enabled ' || u.ev_enabled::text)
FROM pg_catalog.pg_rewrite AS u JOIN relation AS r ON r.oid = u.ev_class
WHERE u.rulename <> '_RETURN'
UNION ALL
SELECT 'routine ' || identity, concat_ws('; ',
    CASE WHEN prokind = 'a' THEN format_type(prorettype, NULL) ELSE pg_get_functiondef(oid) END, obj_description(oid, 'pg_proc'))
FROM routine
UNION ALL
SELECT 'type ' || t.identity, concat_ws('; ', t.typtype, t.typnotnull, t.typdefault, format_type(nullif(t.typbasetype, 0), t.typtypmod),
    (SELECT string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder) FROM pg_catalog.pg_enum AS e WHERE e.enumtypid = t.oid),
    obj_description(t.oid, 'pg_type'))
FROM kind AS t
UNION ALL
SELECT format('statistics %I.%I', n.nspname, s.stxname), pg_get_statisticsobjdef(s.oid)
FROM pg_catalog.pg_statistic_ext AS s JOIN own_schema AS n ON n.oid = s.stxnamespace
UNION ALL
SELECT 'publication ' || quote_ident(p.pubname), concat_ws('; ', p.puballtables, p.pubinsert, p.pubupdate, p.pubdelete, p.pubtruncate,
    (SELECT string_agg(t.prrelid::regclass::text, ', ' ORDER BY t.prrelid::regclass::text COLLATE "C") FROM pg_catalog.pg_publication_rel AS t WHERE t.prpubid = p.oid))
FROM pg_catalog.pg_publication AS p
UNION ALL
SELECT 'extension ' || quote_ident(extname), extversion FROM pg_catalog.pg_extension
UNION ALL
SELECT 'large objects', count(*)::text FROM pg_catalog.pg_largeobject_metadata
UNION ALL
SELECT 'database', concat_ws('; ', pg_encoding_to_char(d.encoding), d.datlocprovider, d.datcollate, d.datctype,
    (SELECT string_agg(x.setting, ', ' ORDER BY x.setting COLLATE "C") FROM pg_catalog.pg_db_role_setting AS s, unnest(s.setconfig) AS x (setting)
     WHERE s.setdatabase = d.oid AND s.setrole = 0))
FROM pg_catalog.pg_database AS d WHERE d.datname = current_database()
ORDER BY 1;
