SELECT
    (100.0 * blks_hit / nullif(blks_hit + blks_read, 0))::float8 AS value,
    format('%%s blocks asked for since %%s', blks_hit + blks_read, coalesce(stats_reset::text, 'the server began to count')) AS detail
FROM pg_stat_database WHERE datname = current_database();
