-- How many indexes the engine's shadow has at this moment, of how many that the table has (the key is one of them).
SELECT
    count(*) FILTER (WHERE indrelid = to_regclass('v2.orders')) AS shadow,
    count(*) FILTER (WHERE indrelid = to_regclass('public.orders')) AS original
FROM pg_index;
