-- Every documented reference, of the relation that is the authority: v1 holds shadows, and so does v2 while public still
-- has a table (not a view) of the same name.
SELECT n.nspname AS schema, c.relname AS relation, a.attname AS column_name, l.line
FROM pg_description AS d
JOIN pg_class AS c ON c.oid = d.objoid AND d.classoid = 'pg_class'::regclass
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = d.objsubid AND NOT a.attisdropped,
    unnest(string_to_array(d.description, E'\n')) WITH ORDINALITY AS l (line, number)
WHERE a.attnum > 0
    AND c.relkind IN ('r', 'p')
    AND NOT c.relispartition
    AND l.line LIKE 'references oltp.%'
    AND (n.nspname = 'public' OR (n.nspname = 'v2' AND NOT EXISTS (
        SELECT FROM pg_class AS p
        WHERE p.relnamespace = 'public'::regnamespace AND p.relname = c.relname AND p.relkind IN ('r', 'p')
    )))
ORDER BY n.nspname, c.relname, a.attnum, l.number;
