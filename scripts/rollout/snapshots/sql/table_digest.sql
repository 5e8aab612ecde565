-- (r.*)::text and not r::text: a column may be called r. OFFSET 0 keeps the row from being printed twice. The sums do
-- not depend on order, and 128 bits from two unrelated functions do not agree by accident. A row printed is at most 1 GB.
SELECT
    count(*),
    coalesce(sum(pg_catalog.hashtextextended(x.line COLLATE "C", 0)), 0),
    coalesce(sum(('x' || left(md5(x.line), 16))::bit(64)::bigint), 0)
FROM (SELECT (r.*)::text AS line FROM ONLY {table} AS r OFFSET 0) AS x;
