-- Of %(relations)s and their partitions, the table with the largest share of dead rows among those with at least %(floor)s of them.
WITH RECURSIVE watched (oid) AS (
    SELECT to_regclass(r.name)::oid FROM unnest(%(relations)s::text[]) AS r (name)
    UNION
    SELECT i.inhrelid FROM watched JOIN pg_inherits AS i ON i.inhparent = watched.oid
)
SELECT
    s.schemaname || '.' || s.relname AS name,
    (100.0 * s.n_dead_tup / (s.n_dead_tup + s.n_live_tup))::float8 AS percent
FROM pg_stat_user_tables AS s
WHERE s.relid IN (SELECT w.oid FROM watched AS w) AND s.n_dead_tup >= %(floor)s
ORDER BY percent DESC
LIMIT 1;
