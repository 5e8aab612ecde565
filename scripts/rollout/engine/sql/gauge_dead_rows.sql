-- Of %(relations)s and their partitions, the table with the largest share of dead rows among those with at least %(floor)s of them.
WITH RECURSIVE watched (oid) AS (
    SELECT to_regclass(r.name)::oid FROM unnest(%(relations)s::text[]) AS r (name)
    UNION
    SELECT i.inhrelid FROM watched JOIN pg_inherits AS i ON i.inhparent = watched.oid
)
SELECT
    s.schemaname || '.' || s.relname AS name,
    -- The statistics' live rows alone would not do: they are lost with a crash, and may lag behind VACUUM's own count.
    (100.0 * s.n_dead_tup / (s.n_dead_tup + greatest(s.n_live_tup, c.reltuples)))::float8 AS percent
FROM pg_stat_user_tables AS s JOIN pg_class AS c ON c.oid = s.relid
WHERE s.relid IN (SELECT w.oid FROM watched AS w) AND s.n_dead_tup >= %(floor)s
ORDER BY percent DESC
LIMIT 1;
