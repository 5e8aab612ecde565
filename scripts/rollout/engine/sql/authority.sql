-- The table behind a name: itself, or the one that the view under it (what a swap leaves for old clients) is over. Its columns
-- with what their bytes are had by; no row when nothing has the name.
WITH RECURSIVE behind AS (
    SELECT to_regclass(%(name)s)::oid AS oid
    UNION
    SELECT d.refobjid
    FROM behind AS b
    JOIN pg_class AS v ON v.oid = b.oid AND v.relkind = 'v'
    JOIN pg_rewrite AS r ON r.ev_class = v.oid
    JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass
        AND d.refobjid <> v.oid
)
SELECT c.oid, quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS relation, c.relname AS name,
    (SELECT jsonb_object_agg(a.attname, a.atttypid::regtype::text) FROM pg_attribute AS a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns,
    coalesce((SELECT jsonb_agg(a.attname ORDER BY u.n) FROM pg_index AS i, unnest(i.indkey::int2[]) WITH ORDINALITY AS u (number, n)
        JOIN pg_attribute AS a ON a.attnum = u.number
        WHERE i.indrelid = c.oid AND i.indisprimary AND a.attrelid = c.oid), '[]') AS key,
    (SELECT t.tgenabled::text FROM pg_trigger AS t WHERE t.tgrelid = c.oid AND t.tgname = %(trigger)s) AS enabled
FROM behind AS b JOIN pg_class AS c ON c.oid = b.oid JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p');
