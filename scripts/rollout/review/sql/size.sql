-- Rows (the planner's estimate; null before the first ANALYZE) and bytes, indexes included, of a table with its partitions.
SELECT CASE WHEN bool_and(c.reltuples >= 0) THEN sum(c.reltuples)::bigint END AS rows,
    sum(pg_total_relation_size(c.oid))::bigint AS bytes
FROM pg_class AS c
WHERE c.relkind = 'r' AND (
    c.oid = to_regclass(%(relation)s) OR c.oid IN (SELECT t.relid FROM pg_partition_tree(to_regclass(%(relation)s)) AS t)
);
