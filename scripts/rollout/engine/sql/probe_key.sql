-- The first of %(relations)s (in their order) that has a key, and the columns of it: what a client's small read goes by.
SELECT n.nspname::text AS schema, c.relname::text AS name, array_agg(a.attname::text ORDER BY k.place) AS columns
FROM unnest(%(relations)s::text[]) WITH ORDINALITY AS r (name, place)
JOIN pg_class AS c ON c.oid = to_regclass(r.name) AND c.relkind IN ('r', 'p')
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_index AS i ON i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k (column_number, place)
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = k.column_number
WHERE k.place <= i.indnkeyatts AND has_table_privilege(c.oid, 'SELECT')
GROUP BY r.place, n.nspname, c.relname, i.indexrelid, i.indisprimary
ORDER BY r.place, i.indisprimary DESC, i.indexrelid
LIMIT 1;
